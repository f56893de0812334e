//! Requests that are none for a WebSocket, on both servers.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use callboard_websocket::{body_within, http_service, tune};
use common::raw::RawClient;

/// Starts the same app on both servers: it counts a body.
fn servers() -> [SocketAddr; 2] {
    let app = || {
        let count = web::post().to(async |body: web::Bytes| body.len().to_string());
        App::new().route("/count", count).wrap(from_fn(body_within(Duration::from_secs(60))))
    };
    let listen = || TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let (tuned, light) = (listen(), listen());
    let addresses = [tuned.local_addr().unwrap(), light.local_addr().unwrap()];
    let server = tune(HttpServer::new(app).workers(1).disable_signals());
    actix_web::rt::spawn(server.listen(tuned).expect("a listener").run());
    let server = actix_server::Server::build().workers(1).disable_signals();
    let server = server.listen("light", light, move || http_service(app));
    actix_web::rt::spawn(server.expect("a listener").run());
    addresses
}

#[actix::test]
async fn a_body_that_comes_is_answered_and_the_connection_goes_on() {
    for address in servers() {
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
async fn a_head_that_does_not_come_is_cut() {
    for address in servers() {
        let request = b"GET / HTTP/1.1\r\nhost: loc";
        let mut client = RawClient::send(&address.to_string(), request).await;
        let head = client.head().await;
        assert!(client.ends().await);
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    }
}
