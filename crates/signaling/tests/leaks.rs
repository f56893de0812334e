//! No actor, descriptor or membership outlives a connection, however it ends.

mod common;

use callboard_signaling::{Count, Rate};
use common::{Client, Server, descriptors, settle};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;

#[actix::test]
async fn after_many_connections_have_come_and_gone_everything_is_as_before() {
    let server = Server::start(|options| options.rate(Rate::UNLIMITED)).await;
    // The first client causes allocations that are kept.
    drop(server.join().await);
    settle(&server, 1, 1, usize::MAX).await;
    let (actors, open) = (server.tree.snapshot().running(), descriptors());

    let mut opened = 1;
    for round in 0..20 {
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..20 {
            clients.push(server.join().await.0);
            opened += 1;
        }
        for (index, mut client) in clients.into_iter().enumerate() {
            match (round + index) % 4 {
                // A close frame, a crash of the peer for good, a close by the server, and nothing at all.
                0 => _ = client.socket.close(None).await,
                1 => {
                    client.send(json!({ "event": "explode_peer", "to": "all" })).await;
                    while client.message().await["data"]["description"] != "Peer restarted" {}
                    client.send(json!({ "event": "explode_peer", "to": "all" })).await;
                    while !matches!(client.next().await, None | Some(Frame::Close(_))) {}
                }
                2 => client.send(json!({ "event": "stop_me", "to": "all" })).await,
                _ => drop(client),
            }
        }
        settle(&server, opened, 1, open).await;
        assert_eq!(server.tree.snapshot().running(), actors, "{}", server.tree.snapshot());
        assert!(server.rooms.lookup("demo").expect("open").peers().is_empty());
    }
    assert_eq!(server.counters.get(Count::Opened), opened);
}
