//! Rate limits of clients by default and by the presets of [`Limits`], over WebSockets and real data channels.
#![cfg(feature = "webrtc")]

mod common;

use std::time::Duration;

use callboard_signaling::{Count, Limits, Rate, WebRtcLimits};
use common::Server;
use common::rtc::{RtcClient, webrtc};
use futures_util::SinkExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;

/// A page's pointer events come at 128 Hz, input of a game at 144: for longer than a burst would last.
#[actix::test]
async fn small_messages_of_a_pointer_and_of_a_game_pass_a_data_channel_by_default() {
    // At 144 Hz as many as a mailbox holds, if a thread stands still all the time.
    const SECONDS: u64 = 7;
    let webrtc = webrtc().await;
    let server = Server::start(|options| options.webrtc(webrtc)).await;
    let at = |hertz: u64| {
        let server = &server;
        async move {
            let mut client = RtcClient::join(server).await;
            let input = client.open("input").await;
            // A missed tick is made up for: on a busy machine, waiting ticks come at once.
            let mut tick = interval(Duration::from_secs(1) / u32::try_from(hertz).unwrap());
            let messages = hertz * SECONDS;
            for number in 0..messages {
                tick.tick().await;
                client.say(input, &format!(r#"{{"tick":{number},"x":0.5,"y":0.5}}"#)).await;
            }

            let last = format!(r#"{{"tick":{},"x":0.5,"y":0.5}}"#, messages - 1);
            client.until("the last echo", |client| client.texts(input).any(|it| it == last)).await;
            assert_eq!(client.texts(input).count() as u64, messages, "{hertz} Hz");
            assert!(!client.in_state("rate_limited"), "{hertz} Hz: {:?}", client.heard);
            assert!(!client.in_state("closed"), "{hertz} Hz: {:?}", client.heard);
        }
    };

    join_all([at(128), at(144)]).await;
}

#[actix::test]
async fn chat_lets_so_many_messages_through_and_no_more() {
    let Limits { websocket, data_channels } = Limits::chat();
    assert_eq!((websocket.messages_per_second, websocket.burst_messages), (30, 300));
    assert_eq!((data_channels.messages_per_second, data_channels.burst_messages), (60, 600));
    let webrtc = webrtc().await;
    let server = Server::start(|options| options.webrtc(webrtc).limits(Limits::chat())).await;

    let (mut client, _) = server.join().await;
    let began = Instant::now();
    for _ in 0..500 {
        client.send(whoami()).await;
    }
    let (mut passed, mut warned) = (0, None);
    while warned.is_none() {
        let message = client.message().await;
        match message["event"].as_str() {
            Some("you_are") => passed += 1,
            Some("error") => warned = Some(message["data"].clone()),
            _ => {}
        }
    }
    assert_within(passed, &websocket, began);
    let warned = warned.unwrap();
    assert_eq!(warned["description"], "Too many messages");
    assert_eq!(warned["details"]["messages_per_second"], 30);

    let mut client = RtcClient::join(&server).await;
    let chat = client.open("chat").await;
    let began = Instant::now();
    for number in 0..1_000 {
        client.say(chat, &number.to_string()).await;
    }
    client.until("warning", |client| client.in_state("rate_limited")).await;
    // Messages after them are echoed after them, once the bucket has refilled.
    let mut asked = 0;
    while !client.texts(chat).any(|text| text == "after") {
        client.say(chat, "after").await;
        asked += 1;
        assert!(asked < 300, "{:?}", client.heard);
        let echoed = client.until("echo", |client| client.texts(chat).any(|text| text == "after"));
        _ = timeout(Duration::from_millis(100), echoed).await;
    }
    let passed = client.texts(chat).filter(|text| *text != "after").count();
    assert_within(passed, &data_channels, began);
    assert!(!client.in_state("closed"), "{:?}", client.heard);
}

#[actix::test]
async fn game_lets_several_streams_of_input_through_and_a_flood_is_warned() {
    const MESSAGES: usize = 4_000;
    const MAILBOX: usize = 1_000;
    let Limits { websocket, data_channels } = Limits::game();
    assert_eq!((websocket.messages_per_second, websocket.burst_messages), (1_000, 4_000));
    assert_eq!((data_channels.messages_per_second, data_channels.burst_messages), (2_000, 8_000));
    // Then the data rate in the limits of WebRTC does not apply.
    let data = Rate { messages_per_second: 1, burst_messages: 10, ..Rate::default() };
    let webrtc = webrtc().await.limits(WebRtcLimits { data, ..WebRtcLimits::default() });
    let server = Server::start(|options| options.webrtc(webrtc).limits(Limits::game())).await;

    let mut client = RtcClient::join(&server).await;
    let input = client.open("input").await;
    // The echoes of more may find the connection's mailbox full, if its thread stands still meanwhile.
    for from in (0..MESSAGES).step_by(MAILBOX) {
        for number in from..from + MAILBOX {
            client.say(input, &number.to_string()).await;
        }
        let all = |client: &RtcClient| client.texts(input).count() == from + MAILBOX;
        client.until("all echoes", all).await;
    }
    assert!(!client.in_state("rate_limited"), "{:?}", client.heard);

    let (mut client, _) = server.join().await;
    for _ in 0..MESSAGES {
        client.send(whoami()).await;
    }
    for _ in 0..MESSAGES {
        client.expect("you_are").await;
    }
    assert_eq!(server.counters.get(Count::TooMany), 0);

    for _ in 0..20_000 {
        let spam = Frame::text(json!({ "event": "swallow", "to": "all" }).to_string());
        // The server may have closed it by then.
        if client.socket.feed(spam).await.is_err() {
            break;
        }
    }
    _ = client.socket.flush().await;
    assert_eq!(client.expect_error("Too many messages").await["messages_per_second"], 1_000);
}

/// Returns a message that the peer answers itself: no more than 1,024 messages may wait for its room.
fn whoami() -> Value {
    json!({ "event": "whoami", "to": "all" })
}

/// Asserts that at least a burst has passed, and at most a burst plus the refill since then.
fn assert_within(passed: usize, rate: &Rate, began: Instant) {
    let elapsed = began.elapsed().as_secs_f64();
    let most = f64::from(rate.burst_messages) + elapsed * f64::from(rate.messages_per_second) + 1.0;
    let within = passed >= rate.burst_messages as usize && passed as f64 <= most;
    assert!(within, "{passed} passed within {elapsed} s by {rate:?}");
}
