//! Failures as clients see them.

use std::time::Duration;

use callboard_signaling::Count;
use serde_json::json;

use crate::common::{Client, Server};

#[actix::test]
async fn a_peer_that_panics_once_goes_on_unnoticed_and_one_that_panics_again_is_given_up() {
    let server = Server::start(|options| options).await;
    let (mut bystander, _) = server.join().await;
    let (mut client, _) = server.join().await;
    bystander.expect("joined").await;

    client.send(json!({ "event": "explode_peer", "to": "all" })).await;
    client.expect_error("Peer restarted").await;
    client.send(json!({ "event": "echo", "to": [client.id] })).await;
    client.expect("echo").await;

    client.send(json!({ "event": "explode_peer", "to": "all" })).await;
    client.expect_close(1011).await;
    assert_eq!(
        bystander.expect("left").await,
        json!({ "peer_id": client.id }),
        "the first thing it hears"
    );
    bystander.send(json!({ "event": "echo", "to": [bystander.id] })).await;
    bystander.expect("echo").await;
}

#[actix::test]
async fn a_room_that_panics_with_ten_clients_keeps_their_connections() {
    let server = Server::start(|options| options).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let (client, _) = server.join().await;
        for other in &mut clients {
            other.expect("joined").await;
        }
        clients.push(client);
    }

    clients[0].send(json!({ "event": "explode_room", "to": "all" })).await;

    for client in &mut clients {
        assert_eq!(client.expect("room_restarted").await["peers"].as_array().unwrap().len(), 10);
    }
    clients[1].send(json!({ "event": "hello", "to": "all" })).await;
    for index in (0..10).filter(|&index| index != 1) {
        clients[index].expect("hello").await;
    }
}

#[actix::test]
async fn a_room_that_panics_too_often_is_closed_and_its_clients_are_told() {
    let server = Server::start(|options| options).await;
    let (mut client, _) = server.join().await;

    for _ in 0..3 {
        client.send(json!({ "event": "explode_room", "to": "all" })).await;
        client.expect("room_restarted").await;
    }
    client.send(json!({ "event": "explode_room", "to": "all" })).await;

    assert_eq!(client.expect_error("Room closed").await, "crashed");
    client.expect_close(1012).await;
    assert!(server.rooms.lookup("other").is_some(), "the other room has noticed nothing");
}

#[actix::test]
async fn everyone_is_told_when_a_room_or_the_server_closes() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    server.rooms.lookup("demo").unwrap().stop("good night").await;
    assert_eq!(a.expect_error("Room closed").await, "good night");
    a.expect_close(1000).await;

    let mut b = server.connect_to("/socket/other", &[]).await.unwrap();
    b.expect("authenticated").await;
    server.rooms.stop_all("shutdown").await;
    assert_eq!(b.expect_error("Room closed").await, "shutdown");
    b.expect_close(1001).await;
}

#[actix::test]
async fn a_client_that_answers_no_pings_is_gone() {
    let server = Server::start(|options| options.heartbeat(Some(Duration::from_secs(1)))).await;
    let (mut bystander, _) = server.join().await;
    // It answers no ping because it is never polled.
    let (mute, _) = server.join().await;
    bystander.expect("joined").await;

    assert_eq!(bystander.expect("left").await, json!({ "peer_id": mute.id }));
    assert_eq!(server.counters.get(Count::Silent), 1);
}

#[actix::test]
async fn a_silent_client_is_closed_after_the_idle_timeout() {
    let server =
        Server::start(|options| options.heartbeat(None).idle_timeout(Duration::from_millis(100)))
            .await;
    let (mut client, _) = server.join().await;

    client.expect_close(1001).await;
}
