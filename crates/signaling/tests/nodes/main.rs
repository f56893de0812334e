//! Clients of two nodes of a cluster in one room, each with its WebSocket at its own node.
#![cfg(feature = "webrtc")]

#[path = "../common/mod.rs"]
mod common;
mod media;
mod restarting;

use std::time::Duration;

use callboard_cluster::{Cluster, Embedded, MemoryWire};
use callboard_room_supervisor::Rooms;
use callboard_signaling::{Drain, Run, WebRtc};
use callboard_supervision::SupervisorRef;
use common::away::{CANNOT, GRACE, has_unread, lose, settle};
use common::{Client, Server};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

/// Starts a node, and the server on it.
async fn node(directory: &Embedded, wire: &MemoryWire, name: &str) -> (Server, SupervisorRef) {
    node_with((directory, wire), name, None).await
}

async fn node_with(
    (directory, wire): (&Embedded, &MemoryWire),
    name: &str,
    webrtc: Option<WebRtc>,
) -> (Server, SupervisorRef) {
    let cluster = Cluster::builder(directory.clone()).node(name).wire(wire.clone()).hold(GRACE);
    let cluster = match webrtc {
        Some(_) => cluster.url(format!("wss://{name}.example.org")),
        None => cluster,
    };
    let cluster = cluster.build().unwrap();
    let rooms = Rooms::builder().cluster(&cluster).build();
    let tree = cluster.start().await.unwrap();
    let server = Server::start_with(rooms, |options| {
        let options = options.resume_grace(GRACE);
        webrtc.into_iter().fold(options, |options, webrtc| options.webrtc(webrtc))
    });
    (server.await, tree)
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

/// Starts the home of the room, and the other nodes.
async fn three_nodes() -> [(Server, SupervisorRef); 3] {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let home = node(&directory, &wire, "a1").await;
    let b2 = node(&directory, &wire, "b2").await;
    let c3 = node(&directory, &wire, "c3").await;
    assert_eq!(b2.0.rooms.lookup("demo").unwrap().home().unwrap().as_str(), "a1");
    [home, b2, c3]
}

#[actix::test]
async fn a_client_goes_from_node_to_node_with_its_session_and_nothing_is_lost() {
    let nodes = three_nodes().await;
    let server = |at: usize| &nodes[at].0;
    let (mut ann, _) = server(0).join().await;
    let (mut eve, _) = server(2).join().await;
    let (mut bob, mut token) = server(1).join_with_token().await;
    let id = bob.id.clone();
    for other in [&mut ann, &mut eve] {
        while other.expect("joined").await["peer_id"] != json!(id) {}
    }
    assert_eq!(token.find('.'), Some(8), "it names its node");
    let (mut up, mut down) = (0, 0);

    // To the home, between edges, and back home again.
    for at in [0, 1, 2, 0, 2, 1] {
        for _ in 0..20 {
            ann.send(json!({ "event": "down", "data": down, "to": [id] })).await;
            bob.send(json!({ "event": "up", "data": up, "to": "all" })).await;
            (up, down) = (up + 1, down + 1);
        }
        // The server has read all that the client has sent.
        bob.text("ping").await;
        let mut seen = down - 20;
        let next_down = async |bob: &mut Client, seen: &mut i32| {
            let message = bob.message().await;
            if message["text"] == "pong" {
                return false;
            }
            assert_eq!((&message["event"], &message["data"]), (&json!("down"), &json!(*seen)));
            *seen += 1;
            true
        };
        while next_down(&mut bob, &mut seen).await {}
        let (next, another) = server(at).resume(&token).await;
        assert_eq!(next.id, id);
        // The first socket ends with all that it had taken; the rest comes over the second.
        let mut before = std::mem::replace(&mut bob, next);
        loop {
            match before.next().await {
                // It was told who is there when it came.
                Some(Frame::Text(text)) if text.contains(r#""event":"room_members""#) => {}
                Some(Frame::Text(text)) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(message["data"], seen);
                    seen += 1;
                }
                Some(Frame::Close(Some(close))) => {
                    assert_eq!(
                        (u16::from(close.code), &*close.reason),
                        (1000, "resumed elsewhere")
                    );
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        token = another;
        while seen < down {
            let number = bob.expect("down").await;
            assert_eq!(number, seen);
            seen += 1;
        }
        assert_eq!(
            server(at).refusal(&format!("/socket/demo?resume={token}x"), &[]).await,
            CANNOT()
        );
    }

    for other in [&mut ann, &mut eve] {
        for number in 0..up {
            assert_eq!(other.expect("up").await, number);
        }
    }
    drop(bob.socket.close(None).await);
    for other in [&mut ann, &mut eve] {
        assert_eq!(other.expect("left").await["peer_id"], id);
    }
}

#[actix::test]
async fn what_comes_while_a_client_is_away_waits_for_it_at_the_node_where_it_comes_back() {
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].0.join().await;
    let (bob, mut token) = nodes[1].0.join_with_token().await;
    let (id, mut bob) = (bob.id.clone(), bob);
    ann.expect("joined").await;

    for (from, to) in [(1, 2), (2, 0), (0, 1)] {
        lose(&nodes[from].0, bob).await;
        for number in 0..100 {
            ann.send(json!({ "event": "down", "data": number, "to": [id] })).await;
        }
        (bob, token) = nodes[to].0.resume(&token).await;
        for number in 0..100 {
            assert_eq!(bob.expect("down").await, number);
        }
    }
    bob.send(json!({ "event": "hello", "to": "all" })).await;
    ann.expect("hello").await;
}

#[actix::test]
async fn one_token_lets_in_one_socket_in_the_whole_cluster() {
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].0.join().await;
    for round in 0..20 {
        let (bob, token) = nodes[round % 3].0.join_with_token().await;
        ann.expect("joined").await;
        let path = format!("/socket/demo?resume={token}");
        let takers = (0..9).map(|taker| nodes[taker % 3].0.connect_to(&path, &[]));

        let taken = join_all(takers).await;

        let (let_in, refused): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_ok);
        assert_eq!(let_in.len(), 1, "in round {round}");
        for refusal in refused {
            let Err(Error::Http(response)) = refusal else { panic!("{refusal:?}") };
            assert_eq!(response.status(), 410);
        }
        let mut taker = let_in.into_iter().next().unwrap().unwrap();
        assert_eq!(taker.expect("resumed").await["peer_id"], json!(bob.id));
        drop(taker.socket.close(None).await);
        assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id), "nothing before");
    }
}

#[actix::test]
async fn a_client_that_has_not_learned_where_its_session_is_finds_it_from_every_node() {
    let nodes = three_nodes().await;
    let (mut ann, _) = nodes[0].0.join().await;
    let (bob, token) = nodes[1].0.join_with_token().await;
    let id = bob.id.clone();
    ann.expect("joined").await;
    let path = format!("/socket/demo?resume={token}");
    lose(&nodes[1].0, bob).await;

    // Node 2 has it from node 1, node 0 from node 2 by way of node 1, and node 1 gets it back from node 0.
    for at in [2, 0, 1, 0] {
        let unread = nodes[at].0.connect_to(&path, &[]).await.unwrap();
        lose(&nodes[at].0, unread).await;
    }
    ann.send(json!({ "event": "down", "data": 1, "to": [id] })).await;
    let (mut bob, another) = nodes[2].0.resume(&token).await;

    assert_eq!(bob.id, id);
    assert_eq!(bob.expect("down").await, 1);
    bob.send(json!({ "event": "up", "to": "all" })).await;
    ann.expect("up").await;
    // It has read the new token: no node lets it in with the old one.
    for (server, _) in &nodes {
        assert_eq!(server.refusal(&path, &[]).await, CANNOT());
    }
    drop(bob.socket.close(None).await);
    assert_eq!(ann.expect("left").await["peer_id"], json!(id), "nothing before");
    let path = format!("/socket/demo?resume={another}");
    assert_eq!(nodes[0].0.refusal(&path, &[]).await, CANNOT());
}

#[actix::test]
async fn a_client_that_does_not_know_where_to_go_is_disconnected_and_comes_back_at_another_node() {
    let [(home, home_tree), (edge, edge_tree), _] = three_nodes().await;
    let (mut ann, _) = home.join().await;
    let (mut bob, token) = edge.join_with_token().await;
    let (mut eve, _) = home.join().await;
    bob.send(json!({ "event": "hello", "to": "all" })).await;
    for (other, joins) in [(&mut ann, 2), (&mut eve, 0)] {
        for _ in 0..joins {
            other.expect("joined").await;
        }
        other.expect("hello").await;
    }
    let drain = Drain::new(&edge.rooms).spread(Duration::from_millis(10)).timeout(GRACE);
    let run = Run::new().unwrap().rooms(&edge.rooms).tree(&edge_tree).drain_on_sigterm(&drain);

    drain.begin();
    let draining = actix::spawn(run.until(std::future::pending::<()>()));

    // As an older client does, it reads on.
    bob.expect("joined").await;
    let moved = bob.expect("moved").await;
    assert_eq!((&moved["url"], &moved["webrtc"]), (&Value::Null, &json!("replace")));
    bob.expect_close(1001).await;
    // It answers, and the server closes the connection.
    assert_eq!(bob.next().await, None);
    assert!(!draining.is_finished(), "its session is here");
    ann.send(json!({ "event": "hello", "data": 1, "to": [bob.id] })).await;
    let (mut again, _) = home.resume(&token).await;
    assert_eq!(again.id, bob.id);
    assert_eq!(again.expect("hello").await, 1);
    draining.await.unwrap().unwrap();
    again.send(json!({ "event": "goodbye", "to": "all" })).await;
    assert_eq!(ann.expect("goodbye").await, Value::Null, "it never left");
    home_tree.stop().await;
}

/// Begins to drain a node, and returns the task that ends with its run.
fn drain(server: &Server, tree: &SupervisorRef) -> JoinHandle<()> {
    let drain = Drain::new(&server.rooms).spread(Duration::from_millis(10)).timeout(GRACE);
    let run = Run::new().unwrap().rooms(&server.rooms).tree(tree).drain_on_sigterm(&drain);
    drain.begin();
    actix::spawn(async move { _ = run.until(std::future::pending::<()>()).await.unwrap() })
}

#[actix::test]
async fn a_node_that_is_drained_alone_closes_its_rooms_at_once() {
    let (server, tree) = node(&Embedded::new(), &MemoryWire::new(), "a1").await;
    let (mut ann, _) = server.join().await;

    let drained = drain(&server, &tree);

    assert_eq!(ann.expect_error("Room closed").await, "shutdown");
    ann.expect_close(1001).await;
    drained.await.unwrap();
}

#[actix::test]
async fn nodes_that_are_all_drained_wait_for_no_one() {
    let [(home, home_tree), (edge, edge_tree), (_, third_tree)] = three_nodes().await;
    third_tree.stop().await;
    let (mut ann, _) = home.join().await;
    let (mut bob, _) = edge.join().await;
    ann.expect("joined").await;

    let drained = [drain(&home, &home_tree), drain(&edge, &edge_tree)];

    for client in [&mut ann, &mut bob] {
        loop {
            match client.next().await {
                Some(Frame::Close(Some(close))) => break assert_eq!(u16::from(close.code), 1001),
                Some(Frame::Text(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(client.next().await, None);
    }
    for drained in drained {
        drained.await.unwrap();
    }
}

#[actix::test]
async fn rooms_without_a_cluster_are_handed_over_when_they_are_drained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rooms");
    let rooms = || Rooms::builder().hand_over_file(&file).build();
    let server = Server::start_with(rooms(), |options| options.resume_grace(GRACE)).await;
    let (mut ann, token) = server.join_with_token().await;
    settle(&mut ann).await;

    let drained = drain(&server, &server.tree);

    ann.expect_close(1001).await;
    assert_eq!(ann.next().await, None);
    drained.await.unwrap();
    let next = Server::start_with(rooms(), |options| options.resume_grace(GRACE)).await;
    let (again, _) = next.resume(&token).await;
    assert_eq!(again.id, ann.id);
}

#[actix::test]
async fn what_a_client_sends_before_it_has_read_the_goodbye_is_delivered() {
    let [(home, _home_tree), (edge, _edge_tree), _] = three_nodes().await;
    let (mut ann, _) = home.join().await;
    let (mut bob, token) = edge.join_with_token().await;
    ann.expect("joined").await;
    settle(&mut bob).await;
    let gone = actix::spawn(join_all(edge.rooms.keepers().iter().map(|it| it.disconnect())));
    has_unread(&bob).await;

    // The goodbye has come, and is not read. How long the server listens from then on is tested in its `LastWords`.
    for number in 0..8 {
        bob.send(json!({ "event": "up", "data": number, "to": "all" })).await;
        assert_eq!(ann.expect("up").await, number);
    }
    bob.expect_close(1001).await;
    assert_eq!(bob.next().await, None);

    gone.await.unwrap();
    home.resume(&token).await;
}

#[actix::test]
async fn clients_of_a_room_whose_home_is_drained_find_it_again_at_another_node() {
    let [(home, home_tree), (edge, _edge_tree), _] = three_nodes().await;
    let (mut bob, _) = edge.join().await;
    let (mut ann, token) = home.join_with_token().await;
    bob.expect("joined").await;
    let drain = Drain::new(&home.rooms).spread(Duration::from_millis(10)).timeout(GRACE);
    let run = Run::new().unwrap().rooms(&home.rooms).tree(&home_tree).drain_on_sigterm(&drain);
    drain.begin();
    let draining = actix::spawn(run.until(std::future::pending::<()>()));

    // The room has gone there before, and begun anew, as it has no snapshot: its clients follow.
    let mut told = [ann.message().await, ann.message().await].map(|it| it["event"].to_string());
    told.sort();
    assert_eq!(told, ["\"moved\"", "\"room_restarted\""]);
    ann.expect_close(1001).await;
    assert_eq!(ann.next().await, None);
    let path = format!("/socket/demo?resume={token}");
    assert_eq!(home.refusal(&path, &[]).await.0, 503, "not back to the node that ends");
    let (mut again, _) = edge.resume(&token).await;
    assert_eq!(again.id, ann.id);
    draining.await.unwrap().unwrap();

    again.send(json!({ "event": "hello", "data": 1, "to": [bob.id] })).await;
    assert_eq!(expect_after(&mut bob, &["room_restarted"], "hello").await, 1);
}

#[actix::test]
async fn the_sessions_of_a_node_that_has_gone_are_over() {
    let [(home, _home), (edge, edge_tree), _] = three_nodes().await;
    let (mut ann, _) = home.join().await;
    let (bob, token) = edge.join_with_token().await;
    ann.expect("joined").await;

    edge.rooms.stop_all("shutdown").await;
    edge_tree.stop().await;

    assert_eq!(home.refusal(&format!("/socket/demo?resume={token}"), &[]).await, CANNOT());
    assert_eq!(ann.expect("left").await["peer_id"], json!(bob.id));
}

#[actix::test]
async fn clients_of_another_node_keep_their_connections_when_the_home_dies() {
    let (directory, wire) = (Embedded::new(), MemoryWire::new());
    let (home, home_tree) = node(&directory, &wire, "a1").await;
    let (edge, _edge_tree) = node(&directory, &wire, "b2").await;
    let (ann, _) = home.join().await;
    let (mut bob, _) = edge.join().await;
    let (mut bea, _) = edge.join().await;
    bob.expect("joined").await;

    // Its rooms are left to themselves: no one hears them.
    home_tree.stop().await;

    for client in [&mut bob, &mut bea] {
        assert_eq!(client.expect("left").await["peer_id"], json!(ann.id));
        let peers = client.expect("room_restarted").await["peers"].clone();
        assert_eq!(peers.as_array().unwrap().len(), 2);
    }
    assert_eq!(edge.rooms.lookup("demo").unwrap().home(), None);
    bob.send(json!({ "event": "hello", "data": 1, "to": "all" })).await;
    assert_eq!(bea.expect("hello").await, 1);
    let (mut eve, _) = edge.join().await;
    bob.expect("joined").await;
    assert_eq!(bea.expect("joined").await["peer_id"], json!(eve.id));
    drop(bob.socket.close(None).await);
    for client in [&mut bea, &mut eve] {
        assert_eq!(client.expect("left").await["peer_id"], json!(bob.id));
    }
}

/// Expects this event, after none but these; returns its data.
async fn expect_after(client: &mut Client, others: &[&str], event: &str) -> Value {
    loop {
        let message = client.message().await;
        let told = message["event"].as_str().unwrap();
        if told == event {
            return message["data"].clone();
        }
        assert!(others.contains(&told), "{message}");
    }
}

fn uuid_of_no_one() -> &'static str {
    "6f1e2b0a-3c7d-4f10-9b51-0a4de8f1c001"
}
