//! Rooms served by [`http_service`](callboard_signaling::http_service) instead of actix-web's server: clients see no
//! difference.

use std::time::Duration;

use callboard_signaling::{Count, Rate};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::common::Server;

#[actix::test]
async fn messages_of_every_size_go_both_ways() {
    let server = Server::start_light(|options| options.max_message(1 << 20)).await;
    let (mut alice, _) = server.join().await;
    let (mut bob, _) = server.join().await;
    alice.expect("joined").await;

    for size in [0, 1, 125, 126, 8_191, 8_192, 65_536, 1_000_000] {
        let data = json!("x".repeat(size));
        alice.send(json!({ "event": "say", "data": data, "to": [bob.id] })).await;
        assert_eq!(bob.expect("say").await, data);
        bob.send(json!({ "event": "answer", "data": size, "to": "all" })).await;
        assert_eq!(alice.expect("answer").await, json!(size));
    }
}

#[actix::test]
async fn who_leaves_is_answered_and_who_is_lost_is_noticed() {
    let server = Server::start_light(|options| options).await;
    let (mut stays, _) = server.join().await;
    let (mut leaves, _) = server.join().await;
    stays.expect("joined").await;

    leaves.socket.close(None).await.unwrap();
    assert!(matches!(leaves.next().await, Some(Frame::Close(_))));
    assert!(leaves.socket.next().await.is_none(), "the connection ends as well");
    assert_eq!(stays.expect("left").await, json!({ "peer_id": leaves.id }));

    let (lost, _) = server.join().await;
    stays.expect("joined").await;
    let id = lost.id.clone();
    drop(lost);
    assert_eq!(stays.expect("left").await, json!({ "peer_id": id }));
}

#[actix::test]
async fn who_is_not_let_in_is_told_why() {
    let server = Server::start_light(|options| options).await;

    let refused = server.refusal("/socket/demo", &[("name", "impostor")]).await;

    assert_eq!(refused, (401, json!({ "error": "unauthorized", "detail": "wrong_credentials" })));
    assert_eq!(server.refusal("/socket/nowhere", &[]).await.0, 404);
}

#[actix::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start_light(|options| {
        options.rate(Rate::UNLIMITED).close_grace(Duration::from_millis(200))
    })
    .await;
    let (mut sender, _) = server.join().await;
    let (slow, _) = server.join().await;
    sender.expect("joined").await;
    let chunk = json!({ "event": "bulk", "data": "x".repeat(50_000), "to": "all" }).to_string();

    while server.counters.get(Count::TooSlow) == 0 {
        sender.socket.send(Frame::text(chunk.clone())).await.unwrap();
    }

    assert_eq!(sender.expect("left").await, json!({ "peer_id": slow.id }));
    while server.counters.get(Count::Ended) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.counters.get(Count::Cut), 1);
}

#[actix::test]
async fn what_comes_with_the_request_is_heard() {
    let server = Server::start_light(|options| options).await;
    let mut tcp = TcpStream::connect(&server.address).await.unwrap();
    let request = format!(
        "GET /socket/demo HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    // A masked text frame that says `ping`, with a mask of zeros (RFC 6455 §5.2).
    let ping = b"\x81\x84\0\0\0\0ping";

    tcp.write_all(&[request.as_bytes(), ping].concat()).await.unwrap();

    read_until(&mut tcp, b"\x81\x04pong").await;
}

async fn read_until(tcp: &mut TcpStream, end: &[u8]) {
    let reading = async {
        let mut read = Vec::new();
        while !read.windows(end.len()).any(|part| part == end) {
            assert_ne!(tcp.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it comes");
}
