//! Reading a real tree through a real server, and injecting faults into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_admin::*;
use callboard_peer_connection::messages::*;
use callboard_peer_connection::*;
use callboard_room_supervisor::Rooms;
use callboard_supervision::{ChildSpec, Restart};
use serde_json::{Value, json};

use crate::common::eventually;
use crate::common::rtc::{RtcClient, webrtc};
use crate::inside::*;
use crate::peers::{Peer, message, negotiate};

#[actix::test]
async fn the_tree_shows_rooms_peers_and_their_connections() {
    let server = Server::start_with(|admin| {
        admin
            .annotate(|node| (&*node.id == "demo").then(|| json!({ "topic": "tests" })))
            .annotate(|node| (&*node.id == "demo").then(|| json!("noted")))
            .annotate(|node| {
                assert_ne!(&*node.id, "room", "an annotator that fails");
                None
            })
    })
    .await;
    let (_ada, peer) = server.join().await;
    let (one, other, _) = call(&server).await;
    server.own(&peer, one.connection.id());
    server.own("nobody", other.connection.id());
    let path = format!("server/webrtc/connections/{}", one.connection.id());
    // The pair is measured once a second.
    let measured = |it: &Value| node(it, &path).is_some_and(|it| it.details["rtt_ms"].is_f64());
    until(&mut server.look().await, measured).await;

    let answer = server.get("/admin/tree").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    check_shape(&answer.json(), None);
    let tree = server.tree().await;
    let find = |path: &str| tree.find(&|node| node.path == path).cloned().expect(path);

    assert_eq!((&*tree.path, &*tree.kind, &*tree.status), ("server", "supervisor", "running"));
    assert_eq!(find("server/rooms/demo").details["topic"], "tests");
    assert_eq!(find("server/rooms/demo").details["note"], "noted");
    let owner = find(&format!("server/rooms/demo/{peer}"));
    assert!(owner.type_name.contains("TestPeer"), "{}", owner.type_name);
    let [connection] = owner.children.as_slice() else { panic!("{owner:#?}") };
    assert_eq!(connection.path, path);
    let details = &connection.details;
    assert_eq!(details["state"], "connected");
    assert_eq!(details["dtls_state"], "connected");
    assert!(["connected", "completed"].contains(&details["ice_state"].as_str().unwrap()));
    assert!(["1.2", "1.3"].contains(&details["dtls"].as_str().unwrap()), "{details:?}");
    assert!(details["srtp"].is_string() && details["rtt_ms"].is_f64(), "{details:?}");
    for side in ["local", "remote"] {
        let address = details["pair"][side].as_str().unwrap();
        assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{address}");
    }
    assert_eq!(details["pair"]["protocol"], "udp");
    assert!(
        details["bytes_sent"].as_u64() > Some(0) && details["bytes_received"].as_u64() > Some(0)
    );
    assert_eq!(details["channels"][0]["label"], "chat");
    assert_eq!(details["channels"][0]["state"], "open");

    // A connection without an owner stays where it is.
    let connections = find("server/webrtc/connections");
    assert_eq!(connections.details["shown_elsewhere"], 1);
    assert_eq!(connections.children.len(), 1);
    assert_eq!(connections.children[0].id, other.connection.id().to_string());
    let drawn = draw(&tree);
    assert_eq!(drawn.lines().count(), tree.count());
    assert!(drawn.contains("connected"), "{drawn}");
}

#[actix::test]
async fn connections_of_another_tree_are_shown_and_faults_injected_into_them_too() {
    let rooms = Rooms::new();
    let root = rooms.start().await.unwrap();
    let server = Server::serve(rooms, root, crate::peers::pool().await, |admin| admin).await;
    let (_ada, peer) = server.join().await;
    let (mut one, _other, _) = call(&server).await;
    server.own(&peer, one.connection.id());
    let mut stream = server.look().await;

    let tree = server.tree().await;
    assert_eq!(tree.children.last().unwrap().path, "webrtc");
    let owner = tree.find(&|node| node.id == peer).unwrap();
    let path = owner.children[0].path.clone();
    assert_eq!(path, format!("webrtc/peer-connections/connections/{}", one.connection.id()));

    assert_eq!(server.post("/admin/tree/fault", order(&path, "kill")).await.status, 204);
    let recovery = whole(&mut stream, &path).await;
    assert_eq!(recovery["reason"]["kind"], "killed");
    assert_eq!(recovery["type"], "PeerConnection");
    assert!(server.tree().await.find(&|node| node.path == path).is_none());
    while one.next().await.is_some() {}
}

#[actix::test]
async fn the_webrtc_peers_of_clients_are_shown_below_them() {
    let webrtc = webrtc().await;
    let given = webrtc.clone();
    let server = crate::common::Server::start(move |options| options.webrtc(given)).await;
    let admin = Admin::builder(server.tree.clone()).webrtc(&webrtc).build();
    let mut client = RtcClient::join(&server).await;
    let chat = client.open("chat").await;
    client.until("connected", |client| client.in_state("connected")).await;

    // On a busy machine the first sample may come without an answer.
    let heard = async {
        loop {
            let tree = admin.tree().await;
            let is_heard = |node: &Tree| node.details.contains_key("state");
            if tree.find(&is_heard).is_some() {
                return tree;
            }
        }
    };
    let tree = tokio::time::timeout(Duration::from_secs(60), heard).await.expect("an answer");
    let peer = tree.find(&|node| node.id == client.ws.id).unwrap();
    let [server_peer] = peer.children.as_slice() else { panic!("{peer:#?}") };
    assert_eq!(server_peer.path, format!("server/rooms/demo/webrtc:{}", client.ws.id));
    let [connection] = server_peer.children.as_slice() else { panic!("{server_peer:#?}") };
    assert_eq!(connection.details["state"], "connected");
    assert_eq!(connection.details["channels"][0]["label"], "chat");

    // Faults for the connection may name its peer.
    let lost = admin.inject(&FaultOrder::lose(&peer.path, 0.1)).await;
    assert_eq!(lost, Ok(()));
    client.say(chat, "hello").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
    let over = admin.inject(&FaultOrder::new(&server_peer.path, FaultKind::FailHandshake)).await;
    assert_eq!(over, Err(FaultError::NoHandshake));
}

#[actix::test]
async fn a_call_outlives_a_peer_that_is_killed() {
    for fault in [FaultKind::Panic, FaultKind::Kill] {
        let webrtc = webrtc().await;
        let given = webrtc.clone();
        let server = crate::common::Server::start(move |options| options.webrtc(given)).await;
        let admin = Admin::builder(server.tree.clone()).webrtc(&webrtc).build();
        let mut client = RtcClient::join(&server).await;
        let chat = client.open("chat").await;
        let [before] = webrtc.sessions().try_into().unwrap();

        let path = format!("server/rooms/demo/{}", client.ws.id);
        admin.inject(&FaultOrder::new(path, fault)).await.unwrap();
        let restarted = |client: &RtcClient| {
            client.events("error").any(|data| data["description"] == "Peer restarted")
        };
        client.until("restart", restarted).await;

        client.say(chat, "still there").await;
        client.until("echo", |it| it.texts(chat).any(|text| text == "still there")).await;
        let [after] = webrtc.sessions().try_into().unwrap();
        assert_eq!(before.connection, after.connection, "{fault:?}");
    }
}

#[actix::test]
async fn a_peer_that_is_stopped_leaves_and_its_client_is_closed() {
    let server = Server::start().await;
    let (mut ada, _) = server.join().await;
    let (mut bob, peer) = server.join().await;
    ada.expect("joined").await;

    let path = format!("server/rooms/demo/{peer}");
    assert_eq!(server.post("/admin/tree/fault", order(&path, "stop")).await.status, 204);

    assert_eq!(ada.expect("left").await["peer_id"], peer);
    while bob.next().await.is_some_and(|frame| !frame.is_close()) {}
}

#[actix::test]
async fn the_tree_is_whole_again_after_each_fault_of_an_actor() {
    let server = Server::start().await;
    let (mut ada, peer) = server.join().await;
    let mut stream = server.look().await;
    until(&mut stream, |message| message["kind"] == "tree").await;
    let room = "server/rooms/demo/room".to_owned();
    let (socket, connections) = ("server/webrtc/sockets/udp 0", "server/webrtc/connections");

    for (path, fault, reason, restarts) in [
        (room.as_str(), "panic", "panic", 1),
        (room.as_str(), "kill", "killed", 2),
        (socket, "panic", "panic", 1),
        // It is permanent.
        (connections, "stop", "shutdown", 1),
        (&format!("server/rooms/demo/{peer}"), "kill", "killed", 1),
        ("server/rooms", "kill", "killed", 1),
    ] {
        let answer = server.post("/admin/tree/fault", order(path, fault)).await;
        assert_eq!(answer.status, 204, "{path} {fault}: {}", answer.body);

        let down = |it: &Value| it["kind"] == "event" && it["path"] == path && it["what"] == "down";
        let event = until(&mut stream, down).await;
        assert_eq!(event["reason"]["kind"], reason, "{event}");
        assert!(event["at_ms"].as_u64() > Some(1_500_000_000_000), "{event}");
        let recovery = whole(&mut stream, path).await;
        assert_eq!(recovery["fault"], fault);
        assert_eq!(recovery["reason"]["kind"], reason);
        assert!(recovery["whole_ms"].as_f64() < Some(5_000.0), "{recovery}");
        let tree = server.tree().await;
        let node = tree.find(&|node| node.path == path).expect(path);
        assert_eq!((&*node.status, node.restarts), ("running", restarts), "{path} {fault}");
        assert_eq!(node.last_exit.as_ref().unwrap().kind, reason);
    }
    // The rooms were started anew, without those that were opened later. Rooms that fell with them are no recoveries of
    // their own.
    assert!(ada.expect("room_restarted").await.is_object());
    let told = server.admin.recoveries();
    assert_eq!(told.len(), 6, "{told:#?}");
}

#[actix::test]
async fn a_room_that_is_stopped_is_gone_and_its_siblings_are_up() {
    let server = Server::start().await;
    let mut stream = server.look().await;

    let answer = server.post("/admin/tree/fault", order("server/rooms/demo", "stop")).await;
    assert_eq!(answer.status, 204);
    let recovery = whole(&mut stream, "server/rooms/demo").await;
    assert_eq!(
        recovery["reason"],
        json!({ "kind": "shutdown", "text": "injected by an operator" })
    );
    let tree = server.tree().await;
    assert!(tree.find(&|node| node.id == "demo").is_none());
    assert_eq!(tree.find(&|node| node.id == "rooms").unwrap().status, "running");
}

#[actix::test]
async fn a_fifth_of_a_calls_datagrams_can_be_lost() {
    let server = Server::start().await;
    let (_ada, peer) = server.join().await;
    let (one, mut other, channel) = call(&server).await;
    server.own(&peer, one.connection.id());
    let path = format!("server/webrtc/connections/{}", one.connection.id());
    let mut stream = server.look().await;

    // Also by the path of the peer that it is shown below.
    let lose = |path: &str, ratio: f64| json!({ "path": path, "fault": "lose", "ratio": ratio });
    let fault =
        server.post("/admin/tree/fault", lose(&format!("server/rooms/demo/{peer}"), 0.2)).await;
    assert_eq!(fault.status, 204, "{}", fault.body);
    for number in 0..30 {
        one.send(SendData::text(channel, format!("{number:01000}"))).await.unwrap();
    }
    let all = async {
        while other.told.iter().filter_map(message).count() < 30 {
            other.next().await.expect("the connection stays");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("all of it arrives");
    let lost = |message: &Value| {
        node(message, &path).is_some_and(|node| node.details["datagrams_lost"].as_u64() > Some(0))
    };
    until(&mut stream, lost).await;
    assert_eq!(server.post("/admin/tree/fault", lose(&path, 0.0)).await.status, 204);

    for ratio in [json!(1.5), json!(-1)] {
        let body = json!({ "path": path, "fault": "lose", "ratio": ratio });
        let refused = server.post("/admin/tree/fault", body).await;
        assert_eq!(refused.error(), (400, "bad_ratio".to_owned()));
    }
    let refused = server.post("/admin/tree/fault", order(&path, "lose")).await;
    assert_eq!(refused.error(), (400, "bad_ratio".to_owned()));
}

#[actix::test]
async fn a_handshake_can_be_failed_while_it_runs() {
    let server = Server::start().await;
    let (mut one, other, _) = call(&server).await;
    let path = |peer: &Peer| format!("server/webrtc/connections/{}", peer.connection.id());

    let refused = server.post("/admin/tree/fault", order(&path(&other), "fail_handshake")).await;
    assert_eq!(refused.error(), (409, "no_handshake".to_owned()));

    // Two peers that do not find each other: the candidates are not passed on.
    let mut lost = Peer::open_on(&server.connections, 0, Configuration::default()).await;
    let mut found = Peer::open_on(&server.connections, 1, Configuration::default()).await;
    lost.send(CreateDataChannel::new("x")).await.unwrap();
    let mut stream = server.look().await;
    negotiate(&mut lost, &mut found).await;
    let handshake = format!("server/webrtc/handshakes/{}", lost.connection.id());
    until(&mut stream, |it| it["path"] == handshake.as_str() && it["what"] == "started").await;
    // It is shown below its connection, once that has an owner.
    let (_ada, peer) = server.join().await;
    server.own(&peer, lost.connection.id());
    let tree = server.tree().await;
    let owner = tree.find(&|node| node.id == peer).unwrap();
    assert_eq!(owner.children[0].path, path(&lost));
    assert_eq!(owner.children[0].children[0].path, handshake);

    let fault = server.post("/admin/tree/fault", order(&path(&lost), "fail_handshake")).await;
    assert_eq!(fault.status, 204, "{}", fault.body);
    let failed = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::ConnectionStateChange(PeerConnectionState::Failed))
            .then_some(())
    };
    lost.until(failed).await;
    assert_eq!(whole(&mut stream, &handshake).await["fault"], "fail_handshake");
    let failed =
        |it: &Value| node(it, &path(&lost)).is_some_and(|it| it.details["state"] == "failed");
    until(&mut stream, failed).await;
    // No other peer has noticed.
    assert_eq!(one.send(GetConnectionState).await, PeerConnectionState::Connected);
    let again = server.post("/admin/tree/fault", order(&path(&lost), "fail_handshake")).await;
    assert_eq!(again.error(), (409, "no_handshake".to_owned()));
    one.connection.close().await;
    while one.next().await.is_some() {}
}

#[actix::test]
async fn a_fault_that_makes_no_sense_is_refused() {
    let server = Server::start().await;
    let (_ada, peer) = server.join().await;
    let peer = format!("server/rooms/demo/{peer}");
    for (body, expected) in [
        (order("server/nobody", "kill"), (404, "not_found")),
        // A fault of the node as a whole, which is not allowed, and one that there is not.
        (order("", "kill"), (403, "node_faults_off")),
        (order("", "stop"), (404, "not_found")),
        (order("server", "kill"), (409, "root")),
        (order(&peer, "explode"), (400, "bad_request")),
        (json!({ "path": peer }), (400, "bad_request")),
        (json!({ "path": peer, "fault": "kill", "more": 1 }), (400, "bad_request")),
        (json!([]), (400, "bad_request")),
        (json!("x".repeat(5_000)), (400, "bad_request")),
        (json!({ "path": peer, "fault": "lose", "ratio": 0.2 }), (400, "no_connection")),
        (order(&peer, "fail_handshake"), (400, "no_connection")),
    ] {
        let answer = server.post("/admin/tree/fault", body.clone()).await;
        let (status, name) = answer.error();
        assert_eq!((status, name.as_str()), expected, "{body}");
    }
    assert!(server.admin.recoveries().is_empty());
    assert_eq!(server.get("/admin/tree/fault").await.status, 405);
}

#[actix::test]
async fn what_is_measured_outside_stands_beside_what_is_measured_here() {
    let server = Server::start().await;
    let mut stream = server.look().await;
    let room = "server/rooms/demo/room";
    for _ in 0..2 {
        assert_eq!(server.post("/admin/tree/fault", order(room, "panic")).await.status, 204);
        whole(&mut stream, room).await;
    }
    let id = server.admin.recoveries()[1].id;
    let at = format!("/admin/tree/recoveries/{id}");

    assert_eq!(server.post(&at, json!({ "messages_ms": 12.5 })).await.status, 204);
    let told = until(&mut stream, |it| it["recovery"]["messages_ms"] == 12.5).await;
    assert_eq!(told["recovery"]["id"], id);
    assert_eq!(server.post(&at, json!({ "media_ms": 340 })).await.status, 204);
    for body in [
        json!({}),
        json!({ "messages_ms": -1 }),
        json!({ "messages_ms": 1e9 }),
        json!({ "messages_ms": "1" }),
        json!({ "else_ms": 1 }),
    ] {
        let refused = server.post(&at, body.clone()).await;
        assert_eq!(refused.error(), (400, "bad_request".to_owned()), "{body}");
    }
    for unknown in ["99", "x", "-1"] {
        let at = format!("/admin/tree/recoveries/{unknown}");
        let refused = server.post(&at, json!({ "messages_ms": 1 })).await;
        assert_eq!(refused.error(), (404, "not_found".to_owned()));
    }

    let told = server.get("/admin/tree/recoveries").await.json();
    let rows = told["recoveries"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[1]["messages_ms"], &rows[1]["media_ms"]), (&json!(12.5), &json!(340.0)));
    assert_eq!((&rows[0]["messages_ms"], &rows[0]["media_ms"]), (&json!(null), &json!(null)));
    assert_eq!(rows[0]["reason"], json!({ "kind": "panic", "text": "injected by an operator" }));
    let [summary] = told["summary"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&summary["type"], &summary["reason"]), (&json!("RoomActor"), &json!("panic")));
    assert_eq!(summary["count"], 2);
    assert_eq!(summary["messages"], json!({ "p50_ms": 12.5, "p99_ms": 12.5 }));
    assert!(summary["whole"]["p99_ms"].as_f64() >= summary["whole"]["p50_ms"].as_f64());
}

/// A child that does nothing.
struct Idle;

impl actix::Actor for Idle {
    type Context = actix::Context<Self>;
}

#[actix::test]
async fn a_stream_that_has_missed_events_tells_all_recoveries() {
    let blocks = Arc::new(AtomicBool::new(false));
    let (tell, mut blocked) = tokio::sync::mpsc::unbounded_channel();
    let blocking = Arc::clone(&blocks);
    let server = Server::start_with(move |admin| {
        admin.annotate(move |_| {
            while blocking.load(Ordering::Relaxed) {
                _ = tell.send(());
                std::thread::park_timeout(Duration::from_millis(1));
            }
            None
        })
    })
    .await;
    let mut stream = server.look().await;
    stream.message().await;

    blocks.store(true, Ordering::Relaxed);
    blocked.recv().await.unwrap();
    let child = |id: &str, restart| ChildSpec::new(id, || Idle).restart(restart);
    server.root.start_child(child("one", Restart::Permanent)).await.unwrap();
    server.admin.inject(&FaultOrder::new("server/one", FaultKind::Kill)).await.unwrap();
    eventually("it is whole", || server.admin.recoveries().iter().any(|it| it.whole_ms.is_some()))
        .await;
    // More events than wait for a stream.
    for _ in 0..600 {
        server.root.start_child(child("other", Restart::Temporary)).await.unwrap();
        server.root.terminate_child("other").await.unwrap();
    }
    blocks.store(false, Ordering::Relaxed);

    assert_eq!(whole(&mut stream, "server/one").await["fault"], "kill");
}
