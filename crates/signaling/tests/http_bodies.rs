//! Requests that are too large, or that do not come to their end, on both servers.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_room_supervisor::Rooms;
use callboard_signaling::admin::Admin;
use callboard_signaling::{PeerOptions, Signaling, body_within, http_service, tune};
use common::TestPeer;
use common::raw::{RawClient, resident};

/// What is measured is the whole process: one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The same app on both servers: it counts a body, and has an admin surface.
async fn servers() -> [SocketAddr; 2] {
    let rooms = Rooms::new();
    let admin = Admin::builder(rooms.start().await.expect("nothing to go wrong")).build();
    let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms));
    let app = move || {
        let count = web::post().to(async |body: web::Bytes| body.len().to_string());
        App::new()
            .configure(admin.at("/admin"))
            .configure(signaling.at(&["/socket/{room}"]))
            .route("/count", count)
            .wrap(from_fn(body_within(Duration::from_secs(1))))
    };
    let listen = || TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let (tuned, light) = (listen(), listen());
    let addresses = [tuned.local_addr().unwrap(), light.local_addr().unwrap()];
    let server = tune(HttpServer::new(app.clone()).workers(1).disable_signals());
    actix_web::rt::spawn(server.listen(tuned).expect("a listener").run());
    let server = actix_server::Server::build().workers(1).disable_signals();
    let server = server.listen("light", light, move || http_service(app.clone()));
    actix_web::rt::spawn(server.expect("a listener").run());
    addresses
}

/// What is answered to a request that stays open; the connection ends after it.
async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut client = RawClient::send(&address.to_string(), request).await;
    let head = client.head().await;
    assert!(client.ends().await);
    head
}

#[actix::test]
async fn a_body_that_does_not_come_is_cut() {
    let _alone = ALONE.lock().await;
    let sizes = [("content-length: 10", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n")];
    let cases = [
        // Read, ours, and ours with a deadline of their own; not read at all; no such route.
        ("POST /count", 408),
        ("POST /admin/tree/fault", 408),
        ("POST /admin/tree/recoveries/1", 408),
        ("GET /admin/healthz", 200),
        ("GET /socket/demo", 426),
        ("POST /nowhere", 404),
    ];
    for address in servers().await {
        let mut all = Vec::new();
        for (request, status) in cases {
            for (size, some) in sizes {
                for body in ["", some] {
                    let request =
                        format!("{request} HTTP/1.1\r\nhost: localhost\r\n{size}\r\n\r\n{body}");
                    all.push(async move {
                        let head = answer(address, request.as_bytes()).await;
                        assert!(
                            head.starts_with(&format!("HTTP/1.1 {status} ")),
                            "{request}: {head}"
                        );
                    });
                }
            }
        }
        futures_util::future::join_all(all).await;
    }
}

#[actix::test]
async fn a_body_that_comes_is_answered_and_the_connection_goes_on() {
    let _alone = ALONE.lock().await;
    for address in servers().await {
        let request =
            format!("POST /count HTTP/1.1\r\nhost: {address}\r\ncontent-length: 5\r\n\r\nhello");
        let mut client = RawClient::send(&address.to_string(), request.as_bytes()).await;
        for _ in 0..2 {
            let head = client.head().await;
            assert!(
                head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 1"),
                "{head}"
            );
            assert_eq!(client.bytes(1).await, b"5");
            assert!(client.write(request.as_bytes()).await);
        }
    }
}

#[actix::test]
async fn a_head_or_a_body_without_end_takes_little_memory() {
    const CLIENTS: usize = 16;
    let _alone = ALONE.lock().await;
    for address in servers().await {
        let endless = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec();
        let body = b"POST /admin/tree/fault HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
        for (start, status) in [(endless, "431"), (body, "400")] {
            let before = resident();
            let clients = (0..CLIENTS).map(async |_| {
                let mut client = RawClient::send(&address.to_string(), &start).await;
                // 16 MiB, or as much as is taken.
                for _ in 0..256 {
                    if !client.write(&[b'x'; 65_536]).await {
                        break;
                    }
                }
                client
            });
            let clients = futures_util::future::join_all(clients).await;
            let grown = resident().saturating_sub(before);
            assert!(grown < CLIENTS * (256 << 10), "{CLIENTS} clients: {grown} bytes, {status}");
            drop(clients);

            // One that does not go on too far hears why.
            let some = [start, vec![b'x'; 140_000]].concat();
            let head = answer(address, &some).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        }
    }
}

#[actix::test]
async fn a_head_that_does_not_come_is_cut() {
    let _alone = ALONE.lock().await;
    for address in servers().await {
        let head = answer(address, b"GET / HTTP/1.1\r\nhost: loc").await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    }
}
