//! Requests that are too large, or that never end, on both servers.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_admin::Admin;
use callboard_room_supervisor::{RoomOptions, Rooms};
use callboard_signaling::{PeerOptions, Signaling, body_within, http_service, tune};
use common::raw::{RawClient, frame, request, resident};
use common::{TestPeer, TestRoom};

/// Headers that ask for no other protocol, or for one that is not supported there.
const UPGRADES: [&str; 5] = [
    "",
    "upgrade:\r\n",
    "upgrade: x\r\n",
    "upgrade: websocket\r\n",
    "connection: upgrade\r\nupgrade: h2c, WebSocket\r\n",
];

/// The whole process is measured: one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Starts the same app on both servers: it counts a body, and has admin routes.
async fn servers() -> [SocketAddr; 2] {
    let rooms = Rooms::new();
    let admin = Admin::builder(rooms.start().await.expect("nothing to go wrong")).build();
    let demo = RoomOptions::<TestRoom>::new("demo", ());
    rooms.start_supervised(demo).await.expect("a free name");
    let signaling = Signaling::new(PeerOptions::<TestPeer>::new((), rooms));
    let app = move || {
        let count = web::post().to(async |body: web::Bytes| body.len().to_string());
        App::new()
            .configure(admin.at("/admin"))
            .configure(signaling.at(&["/socket/{room}"]))
            .route("/count", count)
            .route("/read", web::get().to(async |body: web::Bytes| body.len().to_string()))
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

/// Returns the answer to a request that stays open; the connection must end after it.
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
                for (upgrade, body) in UPGRADES.iter().flat_map(|it| [(it, ""), (it, some)]) {
                    let request = format!(
                        "{request} HTTP/1.1\r\nhost: localhost\r\n{upgrade}{size}\r\n\r\n{body}"
                    );
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
async fn what_follows_a_request_for_a_websocket_is_cut_where_there_is_none() {
    let _alone = ALONE.lock().await;
    for address in servers().await {
        for (path, headers, status) in [
            ("/read", "", 408),
            ("/nowhere", "", 404),
            ("/socket/demo", "content-length: 5\r\n", 400),
            ("/socket/demo", "transfer-encoding: chunked\r\n", 400),
        ] {
            let request = request(&address.to_string(), path, headers);
            let head = answer(address, request.as_bytes()).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        }
    }
}

#[actix::test]
async fn chunks_without_end_are_read_no_more_after_the_answer() {
    let _alone = ALONE.lock().await;
    for address in servers().await {
        for path in ["/nowhere", "/admin/healthz", "/socket/demo"] {
            for upgrade in UPGRADES {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}transfer-encoding: chunked\r\n\r\n"
                );
                let mut client = RawClient::send(&address.to_string(), request.as_bytes()).await;
                client.head().await;
                let endless = async { while client.write(b"1\r\nx\r\n").await {} };
                let cut = tokio::time::timeout(Duration::from_secs(30), endless).await;
                assert!(cut.is_ok(), "{request}");
            }
        }
    }
}

#[actix::test]
async fn a_websocket_outlives_the_time_for_bodies() {
    let _alone = ALONE.lock().await;
    for address in servers().await {
        let mut socket = RawClient::open(&address.to_string(), "/socket/demo", "ann", &[]).await;
        // Its own deadline began before this one.
        let late = b"POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\n";
        assert!(answer(address, late).await.starts_with("HTTP/1.1 408 "));
        assert!(socket.write(&frame(0x88, &1000_u16.to_be_bytes())).await);
        let code = loop {
            match socket.frame().await {
                Some((8, code)) => break code,
                other => assert!(other.is_some(), "the connection was cut"),
            }
        };
        assert_eq!(code, 1000_u16.to_be_bytes());
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
                // 16 MiB, or as much as the server accepts.
                for _ in 0..256 {
                    if !client.write(&[b'x'; 65_536]).await {
                        break;
                    }
                }
                client
            });
            let clients = futures_util::future::join_all(clients).await;
            let grown = resident().saturating_sub(before);
            assert!(grown < CLIENTS * (512 << 10), "{CLIENTS} clients: {grown} bytes, {status}");
            drop(clients);

            // A client that stops in time gets the reason, even if the server has ended the connection before all was
            // sent.
            let mut client = RawClient::send(&address.to_string(), &start).await;
            client.write(&[b'x'; 140_000]).await;
            let head = client.head().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(client.ends().await);
        }
    }
}
