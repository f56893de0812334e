//! Reports of clients' peer connections to the application: each state, and why one has failed or is closed.

use std::time::Duration;

use callboard_peer_connection::messages::{Close, InjectLoss};
use callboard_peer_connection::{
    Api, ApiSettings, CloseReason, FailureReason, InterceptorRegistry, MediaEngine,
    PeerConnectionHandle, PeerConnectionState,
};
use callboard_signaling::{EndReason, Rate, WebRtc, WebRtcLimits};
use callboard_supervision::{ExitReason, Fault};
use serde_json::json;

use PeerConnectionState::{Closed, Connected, Failed};

use crate::common::rtc::{RtcClient, webrtc};
use crate::common::{Server, State, take_states};

async fn server(webrtc: &WebRtc) -> Server {
    let given = webrtc.clone();
    Server::start(move |options| options.webrtc(given)).await
}

/// Returns the server's side of the only client's peer connection.
fn ours(webrtc: &WebRtc) -> PeerConnectionHandle {
    let [session] = &webrtc.sessions()[..] else { panic!("{:?}", webrtc.sessions()) };
    webrtc.connections().get(session.connection.expect("a connection")).expect("it runs")
}

/// Returns the states reported to the peer by the time the client is told of the end: they are handled when the peer
/// answers.
async fn ends(client: &mut RtcClient, state: &str) -> Vec<State> {
    client.until(state, |client| client.in_state(state)).await;
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
    let states = take_states(&client.ws.id);
    let has_ended = |state: &PeerConnectionState| matches!(state, Failed | Closed);
    for State { state, reason } in &states {
        assert_eq!(reason.is_some(), has_ended(state), "{states:?}");
    }
    assert!(states.iter().any(|heard| heard.state == Connected), "{states:?}");
    states.into_iter().filter(|heard| has_ended(&heard.state)).collect()
}

fn because(state: PeerConnectionState, reason: impl Into<EndReason>) -> Vec<State> {
    vec![State { state, reason: Some(reason.into()) }]
}

/// Connects a client's peer connection, which replaces the previous one.
async fn connect(client: &mut RtcClient) {
    client.renew().await;
    client.open("chat").await;
    client.until("connected", |client| client.in_state("connected")).await;
}

#[actix::test]
async fn a_peer_hears_who_has_closed_its_clients_connection() {
    let offers = Rate { messages_per_second: 0, burst_messages: 10, ..Rate::default() };
    let webrtc = webrtc().await.limits(WebRtcLimits { offers, ..WebRtcLimits::default() });
    let server = server(&webrtc).await;
    let mut client = RtcClient::join(&server).await;

    connect(&mut client).await;
    client.ws.send(json!({ "event": "webrtc:close" })).await;
    assert_eq!(ends(&mut client, "closed").await, because(Closed, EndReason::Closed));

    connect(&mut client).await;
    client.connection.send(Close).await.unwrap();
    assert_eq!(ends(&mut client, "closed").await, because(Closed, CloseReason::ClosedByPeer));

    connect(&mut client).await;
    ours(&webrtc).send(Close).await.unwrap();
    assert_eq!(ends(&mut client, "closed").await, because(Closed, CloseReason::Closed));

    connect(&mut client).await;
    let offer = json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": "v=0\r\n" } });
    for _ in 0..30 {
        client.ws.send(offer.clone()).await;
    }
    assert_eq!(ends(&mut client, "closed").await, because(Closed, EndReason::RateLimited));
}

#[actix::test]
async fn a_peer_hears_that_a_server_peer_was_stopped_or_has_failed() {
    let webrtc = webrtc().await;
    let server = server(&webrtc).await;
    let mut client = RtcClient::join(&server).await;
    let node = server.rooms.lookup("demo").unwrap().supervisor().unwrap();

    for (fault, state, word) in [
        (Fault::Exit(ExitReason::Shutdown(None)), Closed, "closed"),
        (Fault::Kill, Failed, "failed"),
        (Fault::Panic("a fault".to_owned()), Failed, "failed"),
    ] {
        connect(&mut client).await;
        node.inject(&format!("webrtc:{}", client.ws.id), fault.clone()).await.unwrap();
        let heard = ends(&mut client, word).await;
        assert_eq!(heard, because(state, CloseReason::Stopped), "{fault:?}");
    }
}

#[actix::test]
async fn a_peer_hears_why_a_connection_has_failed_and_that_it_is_closed_for_that() {
    let settings = ApiSettings {
        disconnected_timeout: Duration::from_secs(3),
        failed_timeout: Duration::from_secs(15),
        failed_close_timeout: Some(Duration::from_secs(1)),
        ..ApiSettings::default()
    };
    let webrtc = webrtc().await.api(Api::with_settings(
        MediaEngine::default(),
        InterceptorRegistry::default(),
        settings,
    ));
    let server = server(&webrtc).await;
    let mut client = RtcClient::join(&server).await;
    connect(&mut client).await;

    ours(&webrtc).send(InjectLoss { ratio: 1.0 }).await.unwrap().unwrap();

    let heard = ends(&mut client, "closed").await;
    let Some(State { reason: Some(EndReason::Connection(CloseReason::Failed(failure))), .. }) =
        heard.first()
    else {
        panic!("{heard:?}")
    };
    assert!(matches!(failure, FailureReason::PathLost(_)), "{failure:?}");
    let reason = EndReason::from(failure.clone());
    assert_eq!(heard, [because(Failed, reason.clone()), because(Closed, reason)].concat());
    assert!(client.in_state("failed"), "{:?}", client.heard);
}
