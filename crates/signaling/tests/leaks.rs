//! Nothing outlives a connection: no actor, no descriptor, no seat, however it ends.

mod common;

use callboard_signaling::{Count, Rate};
use common::{Client, Server};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;

#[actix::test]
async fn after_many_connections_have_come_and_gone_everything_is_as_before() {
    let server = Server::start(|options| options.rate(Rate::UNLIMITED)).await;
    // What is made once and kept is made by the first.
    drop(server.join().await);
    settle(&server, 1, usize::MAX).await;
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
                // A close frame, a crash of the peer for good, a goodbye of the server's, and nothing at all.
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
        settle(&server, opened, open).await;
        assert_eq!(server.tree.snapshot().running(), actors, "{}", server.tree.snapshot());
        assert!(server.rooms.lookup("demo").expect("open").peers().is_empty());
    }
    assert_eq!(server.counters.get(Count::Opened), opened);
}

/// Wait until every connection has ended, every peer with it, and no more descriptors are open than this.
async fn settle(server: &Server, opened: u64, open: usize) {
    let settled = async {
        let room = server
            .tree
            .supervisor("rooms")
            .and_then(|rooms| rooms.supervisor("demo"))
            .expect("a room");
        while server.counters.get(Count::Ended) < opened
            || room.count_children().await.expect("the room runs").specs > 1
            || descriptors() > open
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), settled)
        .await
        .expect("all have ended");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}
