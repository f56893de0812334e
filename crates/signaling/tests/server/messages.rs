//! Messages of clients, and what happens to them.

use std::time::Duration;

use callboard_room_supervisor::{RoomMessage, To};
use callboard_signaling::{Count, Rate};
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as RawFrame, FrameHeader};

use crate::common::Server;
use crate::common::away::counted;

#[actix::test]
async fn messages_go_to_whom_they_are_addressed_under_the_senders_own_name() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let (mut b, _) = server.join().await;
    let (c, _) = server.join().await;
    for _ in 0..2 {
        a.expect("joined").await;
    }
    b.expect("joined").await;

    a.send(json!({ "event": "offer", "data": { "sdp": 1.5 }, "to": [b.id], "from": c.id, "extra": true })).await;
    assert_eq!(
        b.message().await,
        json!({ "event": "offer", "data": { "sdp": 1.5 }, "from": a.id, "to": [b.id] })
    );

    a.send(json!({ "event": "echo", "to": [a.id] })).await;
    assert_eq!(a.message().await["data"], json!(null));
}

/// Clients of the original protocol do not check `from`.
#[actix::test]
async fn what_the_server_alone_may_say_is_refused_from_clients() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;
    let (mut b, _) = server.join().await;
    a.expect("joined").await;
    let reserved = [
        "joined",
        "left",
        "authenticated",
        "resumed",
        "room_restarted",
        "room_members",
        "error",
        "webrtc:answer",
        "webrtc:offer",
        "webrtc:channel_open",
        "webrtc:anything",
        "webrtc:",
        "media:track",
        "media:anything",
    ];

    for event in reserved {
        for to in [json!("all"), json!([b.id]), json!([a.id, b.id]), json!([])] {
            a.send(json!({ "event": event, "data": { "peer_id": b.id }, "to": to, "from": null }))
                .await;
            assert_eq!(a.expect_error("Invalid message").await, "reserved event", "{event} {to}");
        }
    }
    for text in [
        r#"{"event":"\u006aoined","data":{},"to":"all"}"#,
        r#"{ "to" : "all", "data" : 1, "event" : "left" }"#,
        r#"{"event":"\u0077ebrtc:offer","data":{},"to":"all"}"#,
        r#"{"event":"media:offer"}"#,
        r#"{"event":"webrtc:nothing","data":{}}"#,
        r#"{"event":"webrtc:state","data":{"state":"connected"}}"#,
    ] {
        a.text(text).await;
        assert_eq!(a.expect_error("Invalid message").await, "reserved event", "{text}");
    }

    // Names that only look alike belong to the application.
    for event in ["Joined", "joined ", "my:webrtc:offer", "webrtc", "mediation"] {
        a.send(json!({ "event": event, "to": [b.id] })).await;
        b.expect(event).await;
    }
    // Events sent by its code on the server are allowed too.
    a.send(json!({ "event": "announce", "data": 1, "to": [b.id] })).await;
    assert_eq!(
        b.message().await,
        json!({ "event": "joined", "data": 1, "from": a.id, "to": [b.id] })
    );
}

/// Input before the peer has joined is checked later, by the same rules.
#[actix::test]
async fn what_the_server_alone_may_say_is_refused_before_joining_too() {
    let server = Server::start(|options| options).await;
    let (mut bystander, _) = server.join().await;

    let mut client = server.connect(&[]).await.unwrap();
    client.send(json!({ "event": "left", "data": { "peer_id": bystander.id }, "to": "all" })).await;
    client.expect("authenticated").await;

    assert_eq!(client.expect_error("Invalid message").await, "reserved event");
    bystander.expect("joined").await;
    client.send(json!({ "event": "hello", "to": "all" })).await;
    bystander.expect("hello").await;
}

#[actix::test]
async fn an_unknown_addressee_is_told_to_the_sender_and_nothing_is_delivered() {
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
    counted(&server, Count::Binary, 1).await;
}

#[actix::test]
async fn a_peer_may_answer_swallow_and_stop() {
    let server = Server::start(|options| options).await;
    let (mut a, _) = server.join().await;

    a.send(json!({ "event": "swallow", "to": [a.id] })).await;
    a.send(json!({ "event": "whoami", "to": "all" })).await;
    assert_eq!(a.expect("you_are").await, json!(a.id));
    let room = server.rooms.lookup("demo").unwrap();
    room.forward_message(RoomMessage::new("news", &1).unwrap().to(To::All)).await.unwrap();
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
    let server = Server::start(|options| {
        options.rate(Rate { burst_messages: 100, messages_per_second: 1, ..Rate::default() })
    })
    .await;
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
    // A few more where it takes a second or two.
    assert!((100..150).contains(&spam), "{spam} and then left");
    assert!(server.counters.get(Count::TooMany) > 50);
    bystander.send(json!({ "event": "echo", "to": [bystander.id] })).await;
    bystander.expect("echo").await;
}

/// A minute of input at 144 Hz within seconds: first delayed by the network, then all at once.
#[actix::test]
async fn input_of_a_game_passes_by_default() {
    let server = Server::start(|options| options).await;
    let (mut player, _) = server.join().await;
    let (mut other, _) = server.join().await;
    player.expect("joined").await;
    let (ticks, mut tick) = (144 * 6, tokio::time::interval(Duration::from_secs(1) / 144));

    for number in 0..ticks {
        tick.tick().await;
        player.send(json!({ "event": "input", "data": { "tick": number, "x": 0.5, "y": 0.5 }, "to": "all" })).await;
        if number % 72 == 0 {
            player.text("ping").await;
            player.frame(Frame::Ping(vec![1].into())).await;
        }
    }

    for number in 0..ticks {
        assert_eq!(other.expect("input").await["tick"], number);
    }
    assert_eq!(server.counters.get(Count::TooMany), 0);
}

#[actix::test]
async fn a_client_that_heeds_its_warning_stays_and_one_that_does_not_is_closed() {
    let rate = Rate { messages_per_second: 5, burst_messages: 10, ..Rate::default() };
    let server = Server::start(|options| options.rate(rate)).await;
    let (mut client, _) = server.join().await;
    let full = Duration::from_secs(3);

    // More than it may have dropped in all, if dropped messages were never forgotten.
    let mut dropped = 0;
    while dropped <= 15 {
        let mut warned = None;
        while warned.is_none() {
            for _ in 0..3 {
                client.send(json!({ "event": "swallow", "to": "all" })).await;
            }
            // The socket itself answers, also while the peer drops messages.
            client.text("ping").await;
            client.text("ping").await;
            let mut pongs = 0;
            while pongs < 2 {
                match client.message().await {
                    pong if pong["text"] == "pong" => pongs += 1,
                    error => warned = Some(error["data"].clone()),
                }
            }
        }
        let warned = warned.unwrap();
        assert_eq!(warned["description"], "Too many messages");
        assert_eq!(warned["details"]["messages_per_second"], 5);
        dropped += warned["details"]["dropped"].as_u64().unwrap();
        // A client that heeds the warning sends nothing until its buckets are full.
        tokio::time::sleep(full).await;
    }

    let mut warnings = 0;
    for _ in 0..1_000 {
        let spam = Frame::text(json!({ "event": "swallow", "to": "all" }).to_string());
        if client.socket.send(spam).await.is_err() {
            break;
        }
    }
    let code = loop {
        match client.next().await {
            Some(Frame::Text(text)) if text.contains("Too many messages") => warnings += 1,
            Some(Frame::Close(Some(close))) => break u16::from(close.code),
            Some(_) => {}
            // The server has cut the connection while the client was sending.
            None => break 1008,
        }
    };
    assert_eq!(code, 1008);
    assert!(warnings <= 10, "{warnings}: the warnings flood in their turn");
}
