//! Offers of the server: the application's changes on its side reach the client.

use std::time::Duration;

use callboard_peer_connection::messages::{
    AddTrack, AddTransceiver, CreateDataChannel, GetTransceivers, RestartIce,
};
use callboard_peer_connection::*;
use callboard_signaling::{Rate, WebRtc, WebRtcLimits};
use serde_json::{Value, json};

use crate::common::Server;
use crate::common::rtc::{RtcClient, webrtc};

async fn server(limits: WebRtcLimits) -> (Server, WebRtc) {
    let webrtc = webrtc().await.limits(limits);
    let given = webrtc.clone();
    (Server::start(move |options| options.webrtc(given)).await, webrtc)
}

/// Connects a client with a channel `chat`; returns it with the server's side of its peer connection.
async fn connected(
    server: &Server,
    webrtc: &WebRtc,
) -> (RtcClient, DataChannelId, PeerConnectionHandle) {
    let mut client = RtcClient::join(server).await;
    let chat = client.open("chat").await;
    let ours = ours(webrtc);
    (client, chat, ours)
}

/// Returns the server's side of the only client's peer connection.
fn ours(webrtc: &WebRtc) -> PeerConnectionHandle {
    let [session] = &webrtc.sessions()[..] else { panic!("{:?}", webrtc.sessions()) };
    let id = session.connection.expect("a connection");
    webrtc.connections().get(id).expect("it runs")
}

async fn add_track(connection: &PeerConnectionHandle, name: &str) {
    let track = LocalTrack::new(RtpCodecCapability::new("audio/opus"), name, "stream");
    connection.send(AddTrack(track)).await.expect("it runs").expect("added");
}

fn has_track(client: &RtcClient, name: &str) -> bool {
    client
        .told
        .iter()
        .any(|event| matches!(event, ConnectionEvent::TrackAdded { track, .. } if track == name))
}

/// Returns the channel with this label that the server has created.
fn added(client: &RtcClient, wanted: &str) -> Option<DataChannelId> {
    client.told.iter().find_map(|event| match event {
        ConnectionEvent::DataChannelAdded(channel) if channel.label == wanted => Some(channel.id),
        _ => None,
    })
}

/// Expects an echo of this text.
async fn echoes(client: &mut RtcClient, on: DataChannelId, text: &str) {
    client.say(on, text).await;
    client.until("echo", |client| client.texts(on).any(|echo| echo == text)).await;
}

/// Waits until both sides agree on these directions: an answer may take longer than an echo.
async fn agrees(connection: &PeerConnectionHandle, expected: &[Option<Direction>]) {
    let agreed = async || {
        let all = connection.send(GetTransceivers).await.expect("it runs");
        all.iter().map(|one| one.current_direction).collect::<Vec<_>>()
    };
    let agrees = async {
        while agreed().await != expected {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), agrees).await.is_err() {
        panic!("{:?}, not {expected:?}", agreed().await);
    }
}

#[actix::test]
async fn what_the_application_adds_gets_to_the_client() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let (mut client, chat, ours) = connected(&server, &webrtc).await;
    assert_eq!(client.events("webrtc:offer").count(), 0, "nothing was changed");

    // Another channel needs no description.
    ours.send(CreateDataChannel::new("news")).await.unwrap().unwrap();
    client.until("channel", |client| added(client, "news").is_some()).await;
    let told = json!({ "channel": "news" });
    client
        .until("notice", |client| client.events("webrtc:channel_open").any(|it| *it == told))
        .await;
    let news = added(&client, "news").unwrap();
    echoes(&mut client, news, "by the server's channel").await;
    assert_eq!(webrtc.sessions()[0].channels, ["chat", "news"]);
    assert_eq!(client.events("webrtc:offer").count(), 0);

    add_track(&ours, "voice").await;
    client.until("track", |client| has_track(client, "voice")).await;
    let offer = client.events("webrtc:offer").next().unwrap();
    assert_eq!(offer["type"], "offer");
    assert!(offer["sdp"].as_str().unwrap().contains("a=max-message-size:262144\r\n"), "{offer}");
    add_track(&ours, "music").await;
    client.until("another track", |client| has_track(client, "music")).await;

    ours.send(RestartIce).await.unwrap();
    client.until("third offer", |client| client.events("webrtc:offer").count() == 3).await;
    echoes(&mut client, chat, "after a restart").await;
    agrees(&ours, &[Some(Direction::SendOnly); 2]).await;
    assert_eq!(client.events("error").count(), 0, "{:?}", client.heard);
}

#[actix::test]
async fn the_first_data_channel_may_be_the_servers() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let audio = AddTransceiver::receive(TrackKind::Audio);
    client.connection.send(audio).await.unwrap().unwrap();
    client.offer().await;
    client.until("connected", |client| client.in_state("connected")).await;

    ours(&webrtc).send(CreateDataChannel::new("news")).await.unwrap().unwrap();
    client.until("channel", |client| added(client, "news").is_some()).await;
    let news = added(&client, "news").unwrap();
    echoes(&mut client, news, "hello").await;
    assert_eq!(client.events("webrtc:offer").count(), 1);
}

#[actix::test]
async fn channels_of_the_servers_are_not_counted_as_the_clients() {
    let (server, webrtc) = server(WebRtcLimits { channels: 2, ..WebRtcLimits::default() }).await;
    let (mut client, _, ours) = connected(&server, &webrtc).await;
    for label in ["one", "two", "three"] {
        ours.send(CreateDataChannel::new(label)).await.unwrap().unwrap();
        client.until("channel", |client| added(client, label).is_some()).await;
        let channel = added(&client, label).unwrap();
        echoes(&mut client, channel, label).await;
    }

    let second = client.channel("second").await;
    client.opened(second).await;
    echoes(&mut client, second, "hello").await;
    let third = client.channel("third").await;
    client.opened(third).await;
    client.until("refusal", |client| client.failed("data", "too_many_channels")).await;
}

#[actix::test]
async fn where_both_offer_the_server_gives_way_and_nothing_is_lost() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let (mut client, chat, ours) = connected(&server, &webrtc).await;

    for round in 1..=5 {
        let before = client.events("webrtc:offer").count();
        let video = AddTransceiver::receive(TrackKind::Video);
        client.connection.send(video).await.unwrap().unwrap();
        let offer = client.local_description().await;
        let name = format!("track-{round}");
        add_track(&ours, &name).await;
        // The client gets the server's offer when its own is already created.
        client.until("offer", |client| client.events("webrtc:offer").count() > before).await;
        client.ws.send(json!({ "event": "webrtc:offer", "data": offer })).await;
        client.until("track", |client| has_track(client, &name)).await;
        assert_eq!(client.events("webrtc:answer").count(), round + 1, "{:?}", client.heard);
        echoes(&mut client, chat, &name).await;
    }

    client.until("agreement", |client| client.events("webrtc:offer").count() >= 10).await;
    let all = client.connection.send(GetTransceivers).await.expect("it runs");
    assert_eq!(all.len(), 10, "{all:?}");
    assert!(all.iter().all(|one| one.current_direction.is_some()), "{all:?}");
    assert_eq!(client.events("error").count(), 0, "{:?}", client.heard);
}

#[actix::test]
async fn an_offer_that_is_not_answered_is_taken_back() {
    // Long enough for the second one to be answered on a busy machine.
    let limits = WebRtcLimits { offer_timeout: Duration::from_secs(15), ..WebRtcLimits::default() };
    let (server, webrtc) = server(limits).await;
    let (mut client, chat, ours) = connected(&server, &webrtc).await;
    client.ignores_offers = true;

    add_track(&ours, "voice").await;
    client.until("notice", |client| client.failed("webrtc:answer", "timeout")).await;
    let details = client.events("error").next().unwrap()["details"].clone();
    assert_eq!(details["detail"], "the offer is taken back");
    add_track(&ours, "music").await;
    echoes(&mut client, chat, "it goes on").await;
    assert_eq!(client.events("webrtc:offer").count(), 1, "it is not offered again and again");
    let late = json!({ "event": "webrtc:answer", "data": { "type": "answer", "sdp": "v=0" } });
    client.ws.send(late).await;
    client.until("refusal", |client| client.failed("webrtc:answer", "unexpected_answer")).await;

    // The client's own offers are answered as before, and let the server try once more.
    client.ignores_offers = false;
    let video = AddTransceiver::receive(TrackKind::Video);
    client.connection.send(video).await.unwrap().unwrap();
    client.offer().await;
    client.until("answer", |client| client.events("webrtc:answer").count() == 2).await;
    client.until("track", |client| has_track(client, "voice") && has_track(client, "music")).await;
    assert_eq!(client.events("webrtc:offer").count(), 2);
    echoes(&mut client, chat, "and on").await;
}

async fn send_answer(client: &mut RtcClient, data: Value) {
    client.heard.clear();
    client.ws.send(json!({ "event": "webrtc:answer", "data": data })).await;
}

async fn refusal(client: &mut RtcClient) -> (String, String) {
    client.until("refusal", |client| client.events("error").next().is_some()).await;
    let error = client.events("error").next().unwrap();
    assert_eq!(error["description"], "WebRTC failed");
    assert_eq!(error["details"]["event"], "webrtc:answer");
    let text = |name: &str| error["details"][name].as_str().unwrap_or_default().to_owned();
    (text("error"), text("detail"))
}

#[actix::test]
async fn an_answer_that_cannot_be_used_is_refused_and_the_offer_stays_open() {
    let (server, webrtc) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let unexpected = ("unexpected_answer".to_owned(), "no offer is open".to_owned());
    let answer = json!({ "type": "answer", "sdp": "v=0\r\n" });

    send_answer(&mut client, answer.clone()).await;
    assert_eq!(refusal(&mut client).await, unexpected, "there is no connection");
    let chat = client.open("chat").await;
    send_answer(&mut client, answer).await;
    assert_eq!(refusal(&mut client).await, unexpected, "there is no offer");

    client.heard.clear();
    client.ignores_offers = true;
    add_track(&ours(&webrtc), "voice").await;
    client.until("offer", |client| client.events("webrtc:offer").next().is_some()).await;
    let offer = client.events("webrtc:offer").next().unwrap().clone();
    for (bad, detail) in [
        (json!(null), "data must be an object"),
        (json!({ "type": "offer", "sdp": "" }), "type must be \"answer\", not \"offer\""),
        (json!({ "type": "answer", "sdp": "x" }), "no SDP"),
        (json!({ "type": "answer", "sdp": "m=x\r\n".repeat(65) }), "65 sections"),
    ] {
        send_answer(&mut client, bad.clone()).await;
        let (error, found) = refusal(&mut client).await;
        assert_eq!(error, "bad_description", "{bad}");
        assert!(found.contains(detail), "{bad}: {found}");
    }
    client.heard.clear();
    client.take_offer(offer).await;
    client.until("track", |client| has_track(client, "voice")).await;
    echoes(&mut client, chat, "hello").await;
    agrees(&ours(&webrtc), &[Some(Direction::SendOnly)]).await;
    assert_eq!(client.events("error").count(), 0, "{:?}", client.heard);
}

#[actix::test]
async fn answers_count_with_offers() {
    let offers = Rate { messages_per_second: 0, burst_messages: 3, ..Rate::default() };
    let (server, webrtc) = server(WebRtcLimits { offers, ..WebRtcLimits::default() }).await;
    let (mut client, _, _) = connected(&server, &webrtc).await;
    let answer = json!({ "type": "answer", "sdp": "v=0\r\n" });

    for expected in ["unexpected_answer", "unexpected_answer", "rate_limited"] {
        send_answer(&mut client, answer.clone()).await;
        assert_eq!(refusal(&mut client).await.0, expected);
    }
    // A client that goes on has its connection closed, as with offers.
    for _ in 0..10 {
        client.ws.send(json!({ "event": "webrtc:answer", "data": answer })).await;
    }
    client.until("closed", |client| client.in_state("closed")).await;
}
