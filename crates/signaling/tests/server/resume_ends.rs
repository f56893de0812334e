//! What ends a peer with a grace period, and what does not.

use std::time::Duration;

use callboard_room_supervisor::OutboxLimits;
use callboard_signaling::Rejection;
use callboard_signaling::rpc::HookContext;
use callboard_signaling::{Count, Hooks, Rate};
use callboard_supervision::Fault;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::common::away::*;
use crate::common::{Server, cut};

#[actix::test]
async fn without_a_grace_a_peer_ends_with_its_connection() {
    let server = Server::start(|options| options).await;
    let (mut bystander, _) = server.join().await;
    let mut guest = server.connect_to("/socket/demo?resume=mine", &[]).await.unwrap();
    let data = guest.expect("authenticated").await;
    bystander.expect("joined").await;

    cut(guest);

    assert_eq!(data.get("resume"), None);
    assert_eq!(bystander.expect("left").await, json!({ "peer_id": data["peer_id"] }));
}

#[actix::test]
async fn a_goodbye_ends_the_peer_at_once_and_nothing_else_does() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    for code in [None, Some(1000), Some(1001)] {
        let (mut guest, token) = server.join_with_token().await;
        bystander.expect("joined").await;

        let close = code.map(|code: u16| CloseFrame { code: code.into(), reason: "".into() });
        guest.socket.close(close).await.unwrap();

        bystander.expect("left").await;
        let path = format!("/socket/demo?resume={token}");
        assert_eq!(server.refusal(&path, &[]).await, CANNOT(), "{code:?}");
    }
    assert_eq!(server.counters.get(Count::Lost), 0);

    // No regular close: another code, the end of the stream, a reset.
    let (mut guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    guest.socket.close(Some(CloseFrame { code: 4000.into(), reason: "".into() })).await.unwrap();
    counted(&server, Count::Lost, 1).await;
    let (guest, token) = server.resume(&token).await;
    drop(guest);
    counted(&server, Count::Lost, 2).await;
    let (guest, token) = server.resume(&token).await;
    cut(guest);
    counted(&server, Count::Lost, 3).await;
    server.resume(&token).await;
    settle(&mut bystander).await;
}

#[actix::test]
async fn a_goodbye_counts_although_the_connection_ends_with_it() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    for _ in 0..20 {
        let (mut guest, _) = server.join_with_token().await;
        settle(&mut guest).await;
        bystander.expect("joined").await;

        for number in 0..40 {
            guest.send(json!({ "event": "last_words", "data": number, "to": "all" })).await;
        }
        guest.socket.close(None).await.unwrap();
        drop(guest);

        for number in 0..40 {
            assert_eq!(bystander.expect("last_words").await, number);
        }
        bystander.expect("left").await;
    }
    assert_eq!(server.counters.get(Count::Lost), 0);
}

#[actix::test]
async fn one_that_is_closed_for_cause_cannot_come_back() {
    let rate = Rate { messages_per_second: 1, burst_messages: 10, ..Rate::default() };
    let server = Server::start(|options| options.resume_grace(GRACE).rate(rate)).await;
    let (mut bystander, _) = server.join().await;
    let path = |token: &str| format!("/socket/demo?resume={token}");

    let (mut large, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    large.text(&"x".repeat(100_000)).await;
    large.expect_error("Message too large").await;
    large.expect_close(1009).await;
    bystander.expect("left").await;
    assert_eq!(server.refusal(&path(&token), &[]).await, CANNOT());

    let (mut flood, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    for _ in 0..30 {
        // It is closed while it sends.
        let spam = Frame::text(json!({ "event": "swallow", "to": "all" }).to_string());
        if futures_util::SinkExt::send(&mut flood.socket, spam).await.is_err() {
            break;
        }
    }
    for _ in 0..5 {
        flood.expect_error("Too many messages").await;
    }
    flood.expect_close(1008).await;
    bystander.expect("left").await;
    assert_eq!(server.refusal(&path(&token), &[]).await, CANNOT());

    let (mut stopped, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    stopped.send(json!({ "event": "stop_me", "to": "all" })).await;
    stopped.expect_close(1000).await;
    bystander.expect("left").await;
    server.connect_to(&path(&token), &[]).await.expect("let in").expect_close(1000).await;
    bystander.send(json!({ "event": "echo", "to": [bystander.id] })).await;
    bystander.expect("echo").await;
}

#[actix::test]
async fn one_that_does_not_come_back_in_time_leaves_once() {
    let server = Server::start(|options| options.resume_grace(Duration::from_millis(100))).await;
    let (mut bystander, _) = server.join().await;
    let (guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let id = guest.id.clone();

    lose(&server, guest).await;

    assert_eq!(bystander.expect("left").await, json!({ "peer_id": id }));
    let path = format!("/socket/demo?resume={token}");
    assert_eq!(server.refusal(&path, &[]).await, CANNOT());
    settle(&mut bystander).await;
    // The room and the bystander are left, once the supervisor has handled the end.
    crate::common::settle(&server, 1, 2, usize::MAX).await;
}

#[actix::test]
async fn one_for_whom_too_much_waits_leaves() {
    let limits = OutboxLimits { messages: 10, ..OutboxLimits::default() };
    let server = Server::start(|options| options.resume_grace(GRACE).outbox(limits)).await;
    let (mut bystander, _) = server.join().await;
    let (guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    for _ in 0..10 {
        bystander.send(json!({ "event": "news", "to": [id] })).await;
    }
    settle(&mut bystander).await;
    bystander.send(json!({ "event": "news", "to": [id] })).await;

    assert_eq!(bystander.expect("left").await, json!({ "peer_id": id }));
    assert_eq!(server.counters.get(Count::TooSlow), 1);
    let path = format!("/socket/demo?resume={token}");
    assert_eq!(server.refusal(&path, &[]).await, CANNOT());
}

#[actix::test]
async fn a_peer_may_panic_while_its_client_is_away_and_after_it_is_back() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    let (guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    let id = guest.id.clone();
    lose(&server, guest).await;

    room_node(&server).inject(&id, Fault::Panic("while away".into())).await.unwrap();
    bystander.send(json!({ "event": "news", "to": [id] })).await;
    settle(&mut bystander).await;
    let (mut guest, token) = server.resume(&token).await;

    let heard = [guest.message().await, guest.message().await];
    assert!(heard.iter().any(|heard| heard["event"] == "news"), "{heard:?}");
    assert!(
        heard.iter().any(|heard| heard["data"]["description"] == "Peer restarted"),
        "{heard:?}"
    );
    guest.send(json!({ "event": "hello", "to": "all" })).await;
    bystander.expect("hello").await;

    lose(&server, guest).await;
    room_node(&server).inject(&id, Fault::Panic("again".into())).await.unwrap();
    assert_eq!(bystander.expect("left").await, json!({ "peer_id": id }));
    let path = format!("/socket/demo?resume={token}");
    assert_eq!(server.refusal(&path, &[]).await, CANNOT());
}

#[actix::test]
async fn a_peer_that_panics_after_a_resumption_goes_on_behind_the_new_connection() {
    let server = server().await;
    let (guest, token) = server.join_with_token().await;
    lose(&server, guest).await;
    let (mut guest, token) = server.resume(&token).await;

    guest.send(json!({ "event": "explode_peer", "to": "all" })).await;

    guest.expect_error("Peer restarted").await;
    settle(&mut guest).await;
    lose(&server, guest).await;
    let (mut guest, _) = server.resume(&token).await;
    settle(&mut guest).await;
    guest.send(json!({ "event": "explode_peer", "to": "all" })).await;
    guest.expect_close(1011).await;
}

#[actix::test]
async fn a_room_that_panics_keeps_those_who_are_away() {
    let server = server().await;
    let (mut bystander, _) = server.join().await;
    let (guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    lose(&server, guest).await;

    bystander.send(json!({ "event": "explode_room", "to": "all" })).await;

    assert_eq!(bystander.expect("room_restarted").await["peers"].as_array().unwrap().len(), 2);
    let (mut guest, token) = server.resume(&token).await;
    guest.expect("room_restarted").await;
    guest.send(json!({ "event": "hello", "to": "all" })).await;
    bystander.expect("hello").await;

    // And clients that come back while it is down.
    lose(&server, guest).await;
    bystander.send(json!({ "event": "explode_room", "to": "all" })).await;
    let (mut guest, _) = server.resume(&token).await;
    guest.expect("room_restarted").await;
    bystander.expect("room_restarted").await;
    settle(&mut bystander).await;
}

#[actix::test]
async fn a_room_that_closes_ends_those_who_are_away() {
    let server = server().await;
    let (guest, token) = server.join_with_token().await;
    lose(&server, guest).await;
    let path = format!("/socket/demo?resume={token}");

    server.rooms.lookup("demo").unwrap().stop("good night").await;

    // It has not been told yet. Twice: it may lose this connection too.
    for _ in 0..2 {
        server.connect_to(&path, &[]).await.expect("let in").expect_close(1000).await;
    }
    server.rooms.stop_all("shutdown").await;
    server.tree.stop().await;
    assert_eq!(server.tree.snapshot().running(), 0);
}

#[actix::test]
async fn one_that_is_stopped_while_it_is_away_leaves_at_once() {
    let (clients, mut met) = mpsc::unbounded_channel();
    let hooks = Hooks::builder().plugin("test", |test| {
        test.hook("meet", move |(): (), context: HookContext| {
            let sent = clients.send(context.client).is_ok();
            async move { Ok::<_, Rejection>(sent) }
        })
    });
    let hooks = hooks.build().unwrap();
    let server = Server::start(|options| options.resume_grace(GRACE).hooks(hooks)).await;
    let (mut bystander, _) = server.join().await;
    let (mut guest, token) = server.join_with_token().await;
    bystander.expect("joined").await;
    guest.send(json!({ "type": "call_hook", "plugin": "test", "fn": "meet", "args": [] })).await;
    let peer = met.recv().await.unwrap();
    let id = guest.id.clone();
    lose(&server, guest).await;

    peer.stop();

    assert_eq!(bystander.expect("left").await, json!({ "peer_id": id }));
    let path = format!("/socket/demo?resume={token}");
    server.connect_to(&path, &[]).await.expect("let in").expect_close(1000).await;
}
