//! Offers of many WebRTC implementations, as their clients send them to a server peer.

use std::path::PathBuf;
use std::time::Duration;

use callboard_peer_connection::messages::{AddTransceiver, Close, StopTransceiver};
use callboard_peer_connection::sdp::Sdp;
use callboard_peer_connection::{CloseReason, TrackKind};
use callboard_signaling::{DescriptionBudget, WebRtcLimits};
use serde_json::{Value, json};

use crate::common::Server;
use crate::common::rtc::{RtcClient, webrtc};

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../peer-connection/tests/sdp");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Returns the server's reaction to an offer.
async fn said(client: &mut RtcClient, sdp: &str) -> Value {
    client.heard.clear();
    let offer = json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": sdp } });
    client.ws.send(offer).await;
    let is_reply = |client: &RtcClient| {
        client.events("webrtc:answer").next().is_some() || client.events("error").next().is_some()
    };
    client.until("reply", is_reply).await;
    let reply = client.events("webrtc:answer").chain(client.events("error")).next();
    reply.unwrap().clone()
}

#[actix::test]
async fn calls_of_many_makers_are_answered() {
    let webrtc = webrtc().await;
    let server = Server::start(move |options| options.webrtc(webrtc)).await;
    for name in [
        "hand-plain.sdp",
        "hand-one-call-no-mid.sdp",
        "hand-mids-with-hyphen.sdp",
        "hand-profile-rtp-savpf.sdp",
        "hand-profile-tcp-dtls-sctp.sdp",
        "hand-session-name-is-a-space.sdp",
        "hand-mid-extension-differs-by-section.sdp",
        "hand-camera-and-screen.sdp",
    ] {
        let mut client = RtcClient::join(&server).await;
        let offer = read(name);
        let reply = said(&mut client, &offer).await;
        let answer = Sdp::parse(reply["sdp"].as_str().unwrap_or_else(|| panic!("{name}: {reply}")));
        for (section, offered) in answer.media().iter().zip(Sdp::parse(&offer).media()) {
            assert_ne!(section.port(), Some(0), "{name}");
            assert_eq!(section.mid(), offered.mid(), "{name}");
            assert_eq!(section.protocol(), offered.protocol(), "{name}");
        }
    }
}

#[actix::test]
async fn an_offer_of_which_nothing_can_be_used_is_refused_with_the_reason() {
    let webrtc = webrtc().await.limits(WebRtcLimits {
        // The test does not wait for it.
        answer_timeout: Duration::from_secs(60),
        ..WebRtcLimits::default()
    });
    let given = webrtc.clone();
    let server = Server::start(move |options| options.webrtc(given)).await;
    let mut client = RtcClient::join(&server).await;

    let reply = said(&mut client, &read("hand-nothing-usable.sdp")).await;
    assert_eq!(reply["details"]["error"], "bad_description");
    assert_eq!(
        reply["details"]["detail"],
        "nothing in the offer can be used: section 0 (audio): none of its codecs is known: ISAC/16000"
    );
    let no_mux = read("hand-plain.sdp").replace("a=rtcp-mux\r\n", "");
    let reply = said(&mut client, &no_mux).await;
    assert_eq!(reply["details"]["detail"], "section 0 does not multiplex RTCP");

    // The same client goes on with a usable one.
    client.heard.clear();
    let chat = client.open("chat").await;
    client.say(chat, "hello").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
}

#[actix::test]
async fn the_end_of_a_connection_is_told_once() {
    let webrtc = webrtc().await;
    let server = Server::start(move |options| options.webrtc(webrtc)).await;
    let mut client = RtcClient::join(&server).await;
    client.open("chat").await;
    client.until("connected", |client| client.in_state("connected")).await;

    client.connection.send(Close).await.unwrap();
    client.until("closed", |client| client.in_state("closed")).await;
    // Later messages come after everything that the end causes.
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
    let closed: Vec<_> = ends(&client).collect();
    assert_eq!(closed, [&json!({ "state": "closed" })], "{:?}", client.heard);
}

/// Returns the server's messages about the end of the connection.
fn ends(client: &RtcClient) -> impl Iterator<Item = &Value> {
    client.events("webrtc:state").filter(|data| data["state"] == "closed")
}

/// Browsers give their transport up then.
#[actix::test]
async fn a_client_that_ends_after_it_has_stopped_its_first_section_hears_why_its_connection_is_closed()
 {
    let webrtc = webrtc().await;
    let server = Server::start(move |options| options.webrtc(webrtc)).await;
    let mut client = RtcClient::join(&server).await;
    let audio = client.connection.send(AddTransceiver::new(TrackKind::Audio)).await.unwrap();
    client.connection.send(AddTransceiver::new(TrackKind::Video)).await.unwrap().unwrap();
    client.open("chat").await;
    client.until("connected", |client| client.in_state("connected")).await;

    client.connection.send(StopTransceiver(audio.unwrap())).await.unwrap().unwrap();
    client.offer().await;
    client.until("answer", |client| client.events("webrtc:answer").count() == 2).await;
    client.connection.send(Close).await.unwrap();
    client.until("closed", |client| client.in_state("closed")).await;
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
    let reason = CloseReason::TransportReplaced.to_string();
    let closed: Vec<_> = ends(&client).collect();
    assert_eq!(closed, [&json!({ "state": "closed", "reason": reason })], "{:?}", client.heard);

    // It comes back with another connection.
    client.renew().await;
    let chat = client.open("chat").await;
    client.say(chat, "hello").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
}

/// Creates an offer with this many sections, as a gateway writes it.
fn call(sections: usize) -> String {
    let call = read("hand-one-call-no-mid.sdp");
    let section = call.find("m=").unwrap();
    call[..section].to_owned() + &call[section..].repeat(sections)
}

#[actix::test]
async fn an_offer_of_too_many_sections_is_refused_before_there_is_a_connection() {
    let webrtc = webrtc().await;
    let given = webrtc.clone();
    let server = Server::start(move |options| options.webrtc(given)).await;
    let mut client = RtcClient::join(&server).await;

    let reply = said(&mut client, &call(65)).await;
    assert_eq!(reply["details"]["error"], "bad_description");
    assert_eq!(reply["details"]["detail"], "the description has 65 sections, of 64 that are taken");
    assert!(webrtc.sessions().iter().all(|session| session.connection.is_none()));
    assert!(said(&mut client, &call(64)).await["sdp"].is_string());
}

#[actix::test]
async fn what_descriptions_cost_is_bounded_for_a_client_and_for_its_address() {
    let budget = |burst| DescriptionBudget { burst, per_second: 1 };
    let webrtc = webrtc().await.limits(WebRtcLimits {
        descriptions: budget(100),
        descriptions_per_address: budget(125),
        ..WebRtcLimits::default()
    });
    let server = Server::start(move |options| options.webrtc(webrtc)).await;
    let mut first = RtcClient::join(&server).await;
    let mut second = RtcClient::join(&server).await;
    // A session of its own each time: each would be a connection of its own.
    let wrong = |sections: usize| call(sections).replace("a=rtcp-mux", "a=x");

    assert_eq!(said(&mut first, &wrong(60)).await["details"]["error"], "bad_description");
    let over = said(&mut first, &wrong(60)).await;
    assert_eq!(over["details"]["error"], "rate_limited", "{over}");
    let detail = over["details"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("descriptions of too many sections; again in "), "{detail}");

    // Another client has a budget of its own, and shares that of the address.
    assert_eq!(said(&mut second, &wrong(60)).await["details"]["error"], "bad_description");
    assert_eq!(said(&mut second, &wrong(40)).await["details"]["error"], "rate_limited");
}
