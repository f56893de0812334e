//! The WebRTC peers of clients, on the server.

use std::time::Duration;

use callboard_peer_connection::messages::{AddTransceiver, CreateDataChannel, SendData};
use callboard_peer_connection::*;
use callboard_signaling::{Rate, WebRtc, WebRtcLimits};
use callboard_supervision::{ExitReason, Fault};
use serde_json::json;

use crate::common::Server;
use crate::common::rtc::{RtcClient, webrtc};

async fn server(limits: WebRtcLimits) -> (Server, WebRtc) {
    let webrtc = webrtc().await.limits(limits);
    let given = webrtc.clone();
    (Server::start(move |options| options.webrtc(given)).await, webrtc)
}

/// Returns a rate with this burst and hardly any refill.
fn slow(burst_messages: u32) -> Rate {
    Rate { messages_per_second: 0, burst_messages, ..Rate::default() }
}

#[actix::test]
async fn a_client_connects_talks_closes_and_connects_again() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;

    for round in 0..2 {
        let chat = client.open("chat").await;
        client.say(chat, "hello").await;
        client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
        client.until("connected", |client| client.in_state("connected")).await;
        // Over the WebSocket, which may be slower than the channel.
        client.until("its word", |client| client.events("webrtc:channel_open").count() > 0).await;
        assert_eq!(
            client.events("webrtc:channel_open").next(),
            Some(&json!({ "channel": "chat" }))
        );
        let [session] = &webrtc.sessions()[..] else { panic!("{:?}", webrtc.sessions()) };
        assert_eq!(session.peer.to_string(), client.ws.id);
        assert_eq!(session.channels, ["chat"]);

        client.ws.send(json!({ "event": "webrtc:close", "data": {} })).await;
        client.until("closed", |client| client.in_state("closed")).await;
        let closed = client.events("webrtc:channel_closed").next();
        assert_eq!(closed, Some(&json!({ "channel": "chat" })), "round {round}");
        client.renew().await;
    }

    // The WebSocket and the room have not noticed.
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
}

#[actix::test]
async fn a_second_offer_renegotiates_and_one_of_another_connection_takes_its_place() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let chat = client.open("chat").await;
    let connection = |webrtc: &WebRtc| webrtc.sessions()[0].connection.expect("a connection");
    let first = connection(&webrtc);

    let audio = AddTransceiver::receive(TrackKind::Audio);
    client.connection.send(audio).await.unwrap().unwrap();
    client.offer().await;
    client.until("second answer", |client| client.events("webrtc:answer").count() == 2).await;
    assert_eq!(connection(&webrtc), first);
    let answer = client.events("webrtc:answer").last().unwrap()["sdp"].as_str().unwrap().to_owned();
    assert!(answer.contains("m=audio"), "{answer}");
    client.say(chat, "still there").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "still there")).await;

    // A reloaded page does not know its old connection.
    client.renew().await;
    let chat = client.open("chat").await;
    assert_ne!(connection(&webrtc), first);
    client.say(chat, "anew").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "anew")).await;
}

#[actix::test]
async fn what_cannot_be_done_is_told_and_nothing_else_is_disturbed() {
    let disabled = Server::start(|options| options).await;
    let (mut client, _) = disabled.join().await;
    client.send(json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": "" } })).await;
    let details = client.expect_error("WebRTC failed").await;
    assert_eq!(details, json!({ "event": "webrtc:offer", "error": "webrtc_disabled" }));

    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let end = json!({ "event": "webrtc:ice", "data": null });
    client.ws.send(end.clone()).await;
    client.until("refusal", |client| client.failed("webrtc:ice", "no_webrtc_session")).await;
    for bad in [
        json!(null),
        json!(7),
        json!({ "type": "offer" , "sdp": "v=0" }),
        json!({ "type": "answer", "sdp": "" }),
        json!({ "type": "offer", "sdp": "x".repeat(50_000) }),
    ] {
        client.heard.clear();
        client.ws.send(json!({ "event": "webrtc:offer", "data": bad })).await;
        client.until("refusal", |client| client.failed("webrtc:offer", "bad_description")).await;
    }
    client.heard.clear();
    client.ws.send(json!({ "event": "webrtc:ice", "data": { "candidate": 5 } })).await;
    client.until("refusal", |client| client.failed("webrtc:ice", "bad_candidate")).await;
    client.ws.send(json!({ "event": "webrtc:close", "data": null })).await;

    let chat = client.open("chat").await;
    client.heard.clear();
    client.ws.send(json!({ "event": "webrtc:ice", "data": { "candidate": "candidate:nonsense", "sdpMid": "0" } })).await;
    client.until("refusal", |client| client.failed("webrtc:ice", "bad_candidate")).await;
    client.say(chat, "hello").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
}

#[actix::test]
async fn an_offer_that_cannot_be_used_leaves_the_connection_as_it_is() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let chat = client.open("chat").await;
    let before = webrtc.sessions()[0].connection;
    // It has neither a fingerprint nor ICE credentials.
    let of_another = "v=0\r\no=- 7 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
                      m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=sctp-port:5000\r\n";

    for (count, sdp) in ["", "v=0\r\n", of_another].into_iter().enumerate() {
        let data = json!({ "type": "offer", "sdp": sdp });
        client.ws.send(json!({ "event": "webrtc:offer", "data": data })).await;
        client.until("refusal", |client| client.events("error").count() > count).await;
        assert!(client.failed("webrtc:offer", "bad_description"));
        client.say(chat, sdp.len().to_string().as_str()).await;
        client.until("echo", |client| client.texts(chat).count() > count).await;
    }

    assert_eq!(webrtc.sessions()[0].connection, before);
    assert!(!client.in_state("closed"));
    // The connection for the refused offer is gone.
    let connections = || server_connections(&webrtc).snapshot().running() - 1;
    let gone = async {
        while connections() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("one connection");
}

#[actix::test]
async fn a_peer_that_is_given_up_leaves_no_connection_behind() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let chat = client.open("chat").await;

    let gone = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !webrtc.sessions().is_empty() || server_connections(&webrtc).snapshot().running() > 1
        {
            looks.tick().await;
            // More often than a peer is restarted.
            _ = client.connection.send(SendData::text(chat, "explode_peer")).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("all of it ends soon");
}

#[actix::test]
async fn channels_that_come_and_go_count_against_the_rate() {
    let data = slow(3);
    let (server, _) = server(WebRtcLimits { data, ..WebRtcLimits::default() }).await;
    let mut client = RtcClient::join(&server).await;
    client.open("first").await;

    for at in 0..3 {
        client.channel(&at.to_string()).await;
    }
    client.until("warning", |client| client.in_state("rate_limited")).await;
    assert_eq!(client.events("webrtc:channel_open").count(), 3);
    assert!(!client.in_state("closed"));
    for at in 3..6 {
        // The connection is closed while this goes on.
        _ = client.connection.send(CreateDataChannel::new(at.to_string())).await;
    }
    client.until("end", |client| client.in_state("closed")).await;
}

#[actix::test]
async fn offers_and_candidates_have_rates() {
    let limits = WebRtcLimits { offers: slow(2), candidates: slow(20), ..WebRtcLimits::default() };
    let (server, _) = server(limits).await;
    let mut client = RtcClient::join(&server).await;
    client.open("chat").await;

    for _ in 0..25 {
        client.ws.send(json!({ "event": "webrtc:ice", "data": null })).await;
    }
    client.until("refusal", |client| client.failed("webrtc:ice", "ice_rate_limited")).await;
    for _ in 0..2 {
        client.offer().await;
    }
    client.until("refusal", |client| client.failed("webrtc:offer", "rate_limited")).await;
    assert!(!client.in_state("closed"));
    // A client that goes on has its connection closed, and keeps its WebSocket.
    for _ in 0..2 {
        client.offer().await;
    }
    client.until("end", |client| client.in_state("closed")).await;
    let end = json!({ "state": "closed", "reason": "rate_limited" });
    assert!(client.events("webrtc:state").any(|data| *data == end), "{:?}", client.heard);
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
}

#[actix::test]
async fn channels_and_messages_have_limits() {
    let data = slow(6);
    let limits = WebRtcLimits { channels: 2, message: 1_000, data, ..WebRtcLimits::default() };
    let (server, webrtc) = server(limits).await;
    let mut client = RtcClient::join(&server).await;
    client.believes = Some(1 << 20);
    let chat = client.open("chat").await;

    let second = client.channel("second").await;
    client.opened(second).await;
    let third = client.channel("third").await;
    client.until("refusal", |client| client.failed("data", "too_many_channels")).await;
    client
        .until("its end", |client| {
            client.told.iter().any(
                |event| matches!(event, ConnectionEvent::DataChannelClosed(id) if *id == third),
            )
        })
        .await;
    let mut labels = webrtc.sessions()[0].channels.clone();
    labels.sort();
    assert_eq!(labels, ["chat", "second"]);

    client.say(chat, &"x".repeat(1_001)).await;
    client.until("refusal", |client| client.failed("data", "too_large")).await;
    client.say(chat, &"x".repeat(1_000)).await;
    client.until("echo", |client| client.texts(chat).count() == 1).await;
    for _ in 0..5 {
        client.say(chat, "more").await;
    }
    client.until("warning", |client| client.in_state("rate_limited")).await;
    assert!(!client.in_state("closed"));
    for _ in 0..6 {
        // The connection is closed while this goes on.
        _ = client.connection.send(SendData::text(chat, "and more")).await;
    }
    client.until("end", |client| client.in_state("closed")).await;
    let end = json!({ "state": "closed", "reason": "rate_limited" });
    assert!(client.events("webrtc:state").any(|data| *data == end), "{:?}", client.heard);
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
}

#[actix::test]
async fn what_would_go_by_a_data_channel_goes_by_the_websocket_while_there_is_none() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let say =
        |text: &str| json!({ "event": "webrtc:send", "data": { "channel": "chat", "data": text } });
    let heard = |client: &RtcClient, text: &str| {
        client.events("webrtc:data").any(|data| *data == json!({ "channel": "chat", "data": text }))
    };

    client.ws.send(say("before")).await;
    client.until("echo", |client| heard(client, "before")).await;
    let chat = client.open("chat").await;
    client.until("its word", |client| client.events("webrtc:channel_open").next().is_some()).await;
    client.ws.send(say("meanwhile")).await;
    client
        .until("echo by the channel", |client| client.texts(chat).any(|text| text == "meanwhile"))
        .await;
    client.ws.send(json!({ "event": "webrtc:close" })).await;
    client.until("closed", |client| client.in_state("closed")).await;
    client.ws.send(say("after")).await;
    client.until("echo", |client| heard(client, "after")).await;
}

#[actix::test]
async fn a_webrtc_peer_that_fails_is_reported_and_can_be_opened_again() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let (mut other, _) = server.join().await;
    let node = server.rooms.lookup("demo").unwrap().supervisor().unwrap();

    client.open("chat").await;
    node.inject(&format!("webrtc:{}", client.ws.id), Fault::Panic("injected".to_owned()))
        .await
        .unwrap();
    client.until("failed", |client| client.in_state("failed")).await;
    let reason =
        |client: &RtcClient| client.events("webrtc:state").last().unwrap()["reason"].clone();
    assert_eq!(reason(&client), "its actor has ended");
    client.renew().await;

    client.open("chat").await;
    let connection = webrtc.sessions()[0].connection.unwrap();
    let pool = server_connections(&webrtc);
    pool.inject(&connection.to_string(), Fault::Panic("injected".to_owned())).await.unwrap();
    client.until("closed", |client| client.in_state("closed")).await;
    assert_eq!(reason(&client), "its actor has ended");
    client.renew().await;

    // The peer itself crashes: its client's connection goes on.
    let chat = client.open("chat").await;
    let before = webrtc.sessions()[0].connection;
    client.say(chat, "explode_peer").await;
    client
        .until("restart", |client| {
            client.events("error").any(|data| data["description"] == "Peer restarted")
        })
        .await;
    client.say(chat, "still there").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "still there")).await;
    assert_eq!(webrtc.sessions()[0].connection, before);

    // No other client has noticed.
    other.send(json!({ "event": "whoami", "to": [other.id] })).await;
    other.expect("you_are").await;
}

#[actix::test]
async fn a_webrtc_peer_that_is_stopped_or_killed_is_told_with_its_channels_and_can_be_had_again() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let node = server.rooms.lookup("demo").unwrap().supervisor().unwrap();
    let stop = |reason: Option<&str>| ExitReason::Shutdown(reason.map(str::to_owned));
    for (fault, state) in [
        (Fault::Exit(stop(Some("enough"))), "closed"),
        (Fault::Exit(stop(None)), "closed"),
        (Fault::Exit(ExitReason::Normal), "closed"),
        (Fault::Kill, "failed"),
        (Fault::Panic("injected".to_owned()), "failed"),
    ] {
        client.open("chat").await;
        client.until("open", |client| client.events("webrtc:channel_open").next().is_some()).await;
        node.inject(&format!("webrtc:{}", client.ws.id), fault.clone()).await.unwrap();
        client.until(state, |client| client.in_state(state)).await;
        let end = json!({ "state": state, "reason": "its actor has ended" });
        assert_eq!(client.events("webrtc:state").last().unwrap(), &end, "{fault:?}");
        let closed: Vec<_> = client.events("webrtc:channel_closed").collect();
        assert_eq!(closed, [&json!({ "channel": "chat" })], "{fault:?}");
        client.renew().await;
    }

    // A connection that the client has closed itself needs no reason.
    client.open("chat").await;
    client.ws.send(json!({ "event": "webrtc:close" })).await;
    client.until("closed", |client| client.in_state("closed")).await;
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
    let ends = client.events("webrtc:state").filter(|data| data["state"] == "closed");
    assert_eq!(ends.collect::<Vec<_>>(), [&json!({ "state": "closed" })]);
}

#[actix::test]
async fn a_client_whose_room_closes_hears_nothing_of_its_webrtc_peer() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    client.open("chat").await;

    server.rooms.lookup("demo").unwrap().stop("enough").await;

    client
        .until("goodbye", |client| client.heard.iter().any(|heard| heard["event"] == "gone"))
        .await;
    assert!(!client.in_state("closed"), "{:?}", client.heard);
    assert_eq!(client.events("webrtc:channel_closed").count(), 0);
    let ended = async {
        while !webrtc.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("its server peer ends");
}

fn server_connections(webrtc: &WebRtc) -> callboard_supervision::SupervisorRef {
    let root = webrtc.connections().supervisor();
    root.supervisor("peer-connections").unwrap().supervisor("connections").unwrap()
}

#[actix::test]
async fn a_peer_that_leaves_or_is_stopped_takes_its_connection_with_it() {
    for stopped in [false, true] {
        let (server, webrtc) = server(WebRtcLimits::default()).await;
        let mut client = RtcClient::join(&server).await;
        client.open("chat").await;
        let connection = webrtc.sessions()[0].connection.unwrap();
        let RtcClient { ws, connection: mine, .. } = client;
        let id = ws.id.clone();

        if stopped {
            let node = server.rooms.lookup("demo").unwrap().supervisor().unwrap();
            let shutdown = ExitReason::Shutdown(Some("enough".to_owned()));
            node.inject(&id, Fault::Exit(shutdown)).await.unwrap();
        } else {
            drop(ws);
        }

        let ended = async {
            while mine.is_open()
                || !webrtc.sessions().is_empty()
                || webrtc.connections().exists(connection)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("all of it ends");
    }
}
