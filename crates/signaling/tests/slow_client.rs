//! A client that does not read. A file of its own, because the memory of the whole process is measured.

mod common;

use std::time::Duration;

use callboard_room_supervisor::OutboxLimits;
use callboard_signaling::{Count, Rate};
use common::Server;
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;

#[actix::test]
async fn a_client_that_does_not_read_is_cut_off_in_bounded_memory_and_others_go_on() {
    let limits = OutboxLimits { messages: 100_000, bytes: 1 << 20 };
    let server = Server::start(|options| {
        options.outbox(limits).rate(Rate::UNLIMITED).close_grace(Duration::from_millis(500))
    })
    .await;
    let (mut sender, _) = server.join().await;
    let (slow, _) = server.join().await;
    let (mut reader, _) = server.join().await;
    for _ in 0..2 {
        sender.expect("joined").await;
    }
    let before = resident();
    let chunk = json!({ "event": "bulk", "data": "x".repeat(50_000), "to": "all" }).to_string();

    // 200 MB for each of them. The fast client reads its share; the slow one reads nothing.
    let reading = tokio::task::spawn_local(async move {
        let mut read = 0;
        while read < 4_000 {
            read += usize::from(reader.message().await["event"] == "bulk");
        }
        reader
    });
    let mut left = false;
    for sent in 0..4_000 {
        sender.socket.send(Frame::text(chunk.clone())).await.unwrap();
        if sent % 20 == 0 {
            // Wait for the room: the sender's own messages in flight are bounded.
            sender.send(json!({ "event": "mark", "to": [sender.id] })).await;
            loop {
                let message = sender.message().await;
                left |= message["event"] == "left";
                if message["event"] == "mark" {
                    break;
                }
            }
        }
    }

    reading.await.expect("the reader got all of it");
    let grown = resident().saturating_sub(before);
    // The clients live in this process as well, and the allocator keeps freed memory.
    assert!(grown < 160 << 20, "grew by {grown} bytes");
    if !left {
        assert_eq!(sender.expect("left").await, json!({ "peer_id": slow.id }));
    }
    assert_eq!(server.counters.get(Count::TooSlow), 1);
    assert_eq!(server.counters.get(Count::Cut), 1);
    drop(slow);
}

/// Returns the resident memory of the process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}
