//! What clients may say, and what becomes of it.

mod common;

use callboard_room_supervisor::{Message, To};
use callboard_signaling::{Count, Rate};
use common::Server;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as RawFrame, FrameHeader};

#[actix::test]
async fn messages_go_to_whom_they_are_addressed_under_the_senders_own_name() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let (mut b, _) = server.join().await;
    let (mut c, _) = server.join().await;
    for _ in 0..2 {
        a.expect("joined").await;
    }
    b.expect("joined").await;

    a.send(json!({ "event": "offer", "data": { "sdp": 1.5 }, "to": [b.id], "from": c.id, "extra": true })).await;
    assert_eq!(
        b.message().await,
        json!({ "event": "offer", "data": { "sdp": 1.5 }, "from": a.id, "to": [b.id] })
    );

    for forged in ["joined", "left", "authenticated", "error"] {
        b.send(json!({ "event": forged, "data": { "peer_id": c.id }, "to": "all", "from": null }))
            .await;
        assert_eq!(a.message().await["from"], json!(b.id), "{forged}");
        assert_eq!(c.message().await["from"], json!(b.id), "{forged}");
    }

    a.send(json!({ "event": "echo", "to": [a.id] })).await;
    assert_eq!(a.message().await["data"], json!(null));
}

#[actix::test]
async fn an_unknown_addressee_is_told_to_the_sender_and_nobody_gets_anything() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let (mut b, _) = server.join().await;
    a.expect("joined").await;
    let stranger = "00000000-0000-4000-8000-000000000000";

    a.send(json!({ "event": "offer", "to": [b.id, stranger] })).await;

    assert_eq!(a.expect_error("No such peer").await, json!([stranger]));
    a.send(json!({ "event": "after", "to": [b.id] })).await;
    b.expect("after").await;
}

#[actix::test]
async fn what_is_no_message_is_answered_and_the_connection_stays() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let deep = format!(
        r#"{{"event":"x","to":"all","data":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let many = format!(r#"{{"event":"x","to":[{}]}}"#, vec!["1"; 30_000].join(","));
    let twice = format!(r#"{{"event":"x","to":["{0}","{0}"]}}"#, a.id);
    let texts = [
        "garbage",
        "",
        "[]",
        "1",
        "null",
        r#"{"event":1,"to":"all"}"#,
        r#"{"to":"all"}"#,
        r#"{"event":"x"}"#,
        r#"{"event":"x","to":null}"#,
        r#"{"event":"x","to":"everyone"}"#,
        r#"{"event":"x","to":[]}"#,
        r#"{"event":"x","to":[1]}"#,
        r#"{"event":"x","to":["?"]}"#,
        r#"{"event":"x","to":{}}"#,
        &deep,
        &many,
        &twice,
    ];
    for text in texts {
        a.text(text).await;
        let details = a.expect_error("Invalid message").await;
        assert!(details.as_str().is_some_and(|details| details.len() < 60), "{details}");
    }
    assert_eq!(server.counters.get(Count::Invalid), texts.len() as u64);
    a.send(json!({ "event": "echo", "to": [a.id] })).await;
    a.expect("echo").await;
}

#[actix::test]
async fn the_text_ping_is_answered_and_binary_frames_are_ignored() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;

    a.frame(Frame::binary(vec![1, 2, 3])).await;
    a.frame(Frame::Ping(vec![7].into())).await;
    a.text("ping").await;

    assert_eq!(a.message().await, json!({ "text": "pong" }));
    while server.counters.get(Count::Binary) == 0 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn a_peer_may_answer_swallow_and_stop() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;

    a.send(json!({ "event": "swallow", "to": [a.id] })).await;
    a.send(json!({ "event": "whoami", "to": "all" })).await;
    assert_eq!(a.expect("you_are").await, json!(a.id));
    let room = server.rooms.lookup("demo").unwrap();
    room.forward_message(Message::new("news", &1).unwrap().to(To::All)).await.unwrap();
    a.expect("news").await;
    a.send(json!({ "event": "stop_me", "to": "all" })).await;
    a.expect_close(1000).await;
}

#[actix::test]
async fn a_message_that_is_too_large_is_refused_and_the_client_closed() {
    let server = Server::start(|options| options).await;
    let (mut bystander, _) = server.join().await;
    for (name, size) in [("somebody", 1 << 20), ("brief", 200)] {
        let mut client = server.connect(&[("name", name)]).await.unwrap();
        client.expect("authenticated").await;

        client.text(&"x".repeat(size)).await;

        client.expect_error("Message too large").await;
        client.expect_close(1009).await;
        bystander.expect("joined").await;
        bystander.expect("left").await;
    }
}

#[actix::test]
async fn a_fragmented_message_is_put_together_within_the_limit() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let text = json!({ "event": "echo", "data": "in parts", "to": [a.id] }).to_string();
    let part = |text: &str, code, last| {
        let header =
            FrameHeader { is_final: last, opcode: OpCode::Data(code), ..FrameHeader::default() };
        Frame::Frame(RawFrame::from_payload(header, text.as_bytes().to_vec().into()))
    };

    a.frame(part(&text[..10], Data::Text, false)).await;
    a.frame(part(&text[10..20], Data::Continue, false)).await;
    a.frame(part(&text[20..], Data::Continue, true)).await;
    assert_eq!(a.expect("echo").await, "in parts");

    let chunk = "x".repeat(40_000);
    a.frame(part(&chunk, Data::Text, false)).await;
    a.frame(part(&chunk, Data::Continue, false)).await;
    a.expect_error("Message too large").await;
    a.expect_close(1009).await;
}

#[actix::test]
async fn a_client_that_floods_is_told_and_then_closed_and_others_are_not_held_up() {
    let server =
        Server::start(|options| options.rate(Rate { messages: 100, ..Rate::default() })).await;
    let (mut bystander, _) = server.join().await;
    let (mut flood, _) = server.join().await;
    bystander.expect("joined").await;

    for _ in 0..10_000 {
        let message = json!({ "event": "spam", "to": "all" }).to_string();
        // The server stops reading at some point.
        if futures_util::SinkExt::feed(&mut flood.socket, Frame::text(message)).await.is_err() {
            break;
        }
    }
    _ = futures_util::SinkExt::flush(&mut flood.socket).await;

    let mut spam = 0;
    while bystander.message().await["event"] == "spam" {
        spam += 1;
    }
    assert_eq!(spam, 100, "and then left");
    assert!(server.counters.get(Count::TooMany) > 50);
    bystander.send(json!({ "event": "echo", "to": [bystander.id] })).await;
    bystander.expect("echo").await;
}
