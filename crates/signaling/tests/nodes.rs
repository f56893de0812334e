//! Clients of two nodes of a cluster in one room, each with its WebSocket at its own node.
#![cfg(feature = "webrtc")]

mod common;

use callboard_cluster::{Cluster, Embedded, MemoryWire};
use callboard_room_supervisor::Rooms;
use callboard_supervision::SupervisorRef;
use common::Server;
use common::away::{GRACE, lose};
use serde_json::json;

/// Starts a node, and the server on it.
async fn node(directory: &Embedded, wire: &MemoryWire, name: &str) -> (Server, SupervisorRef) {
    let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone());
    let cluster = cluster.hold(GRACE).build().unwrap();
    let rooms = Rooms::builder().cluster(&cluster).build();
    let tree = cluster.start().await.unwrap();
    (Server::start_with(rooms, |options| options.resume_grace(GRACE)).await, tree)
}

#[actix::test]
async fn clients_of_two_nodes_talk_and_come_back_in_one_room() {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let (home, _home_tree) = node(&directory, &wire, "a1").await;
    let (edge, _edge_tree) = node(&directory, &wire, "b2").await;
    let away = edge.rooms.lookup("demo").unwrap();
    assert_eq!(away.home().unwrap().as_str(), "a1");

    let (mut ann, _) = home.join().await;
    let mut bob = edge.connect(&[("name", "Ann")]).await.unwrap();
    let welcome = bob.expect("authenticated").await;
    assert_eq!(welcome["peers"], json!([ann.id]));
    let (id, token) = (welcome["peer_id"].clone(), welcome["resume"]["token"].as_str().unwrap());
    let joined = ann.expect("joined").await;
    assert_eq!(joined, json!({ "peer_id": id, "metadata": { "name": "Ann" } }));

    bob.send(json!({ "event": "hello", "data": 1, "to": "all" })).await;
    assert_eq!(ann.expect("hello").await, 1);
    ann.send(json!({ "event": "hello", "data": 2, "to": [id] })).await;
    assert_eq!(bob.expect("hello").await, 2);
    bob.send(json!({ "event": "hello", "to": [uuid_of_no_one()] })).await;
    assert_eq!(bob.expect_error("No such peer").await, json!([uuid_of_no_one()]));

    // Its session is at its node, and waits for it there.
    lose(&edge, bob).await;
    ann.send(json!({ "event": "hello", "data": 3, "to": [id] })).await;
    let (mut bob, _) = edge.resume(token).await;
    assert_eq!(bob.expect("hello").await, 3);
    assert_eq!(json!(bob.id), id);

    // Who is not admitted is told so by its own node.
    let mut turned_away = edge.connect(&[("name", "unwelcome")]).await.unwrap();
    assert_eq!(turned_away.expect_error("Could not join room").await, "not_you");
    turned_away.expect_close(1000).await;

    drop(bob.socket.close(None).await);
    assert_eq!(ann.expect("left").await["peer_id"], id);
    let (mut eve, _) = edge.join().await;
    ann.expect("joined").await;

    edge.rooms.close("demo", "time is up").await;
    for client in [&mut ann, &mut eve] {
        assert_eq!(client.expect_error("Room closed").await, "time is up");
        client.expect_close(1000).await;
    }
}

fn uuid_of_no_one() -> &'static str {
    "6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001"
}
