//! Offers that arrive while the previous server peer ends, and limits that a client does not regain by its end.

use callboard_signaling::{DescriptionBudget, Rate, WebRtcLimits};
use callboard_supervision::{ExitReason, Fault};
use serde_json::{Value, json};

use crate::common::rtc::webrtc;
use crate::common::{Client, Server};

async fn server(limits: WebRtcLimits) -> Server {
    let webrtc = webrtc().await.limits(limits);
    Server::start(move |options| options.webrtc(webrtc)).await
}

/// Creates an offer with this many audio sections, all without `lack`.
fn call(sections: usize, lack: &str) -> Value {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = folder.join("../peer-connection/tests/sdp/hand-one-call-no-mid.sdp");
    let call = std::fs::read_to_string(file).expect("a file").replace(lack, "a=x");
    let (session, section) = call.split_at(call.find("m=").expect("a section"));
    let sdp = session.to_owned() + &section.repeat(sections);
    json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": sdp } })
}

fn good() -> Value {
    call(1, "a=nothing")
}

fn wrong(sections: usize) -> Value {
    call(sections, "a=rtcp-mux")
}

fn close() -> Value {
    json!({ "event": "webrtc:close", "data": {} })
}

/// Returns the next answer or refusal, and all messages before it.
async fn reply(client: &mut Client) -> (Value, Vec<Value>) {
    let mut before = Vec::new();
    loop {
        let message = client.message().await;
        match message["event"].as_str() {
            Some("webrtc:answer" | "error") => return (message, before),
            _ => before.push(message),
        }
    }
}

/// Returns the details of the refusal of this offer.
async fn refusal(client: &mut Client, offer: Value) -> Value {
    client.send(offer).await;
    let (reply, _) = reply(client).await;
    reply["data"]["details"].clone()
}

/// Starts a server whose clients may offer as often as they like.
async fn patient() -> Server {
    server(WebRtcLimits {
        offers: Rate { burst_messages: 10_000, ..WebRtcLimits::default().offers },
        descriptions: DescriptionBudget::UNLIMITED,
        ..WebRtcLimits::default()
    })
    .await
}

#[actix::test]
async fn an_offer_right_behind_a_close_is_answered() {
    let server = patient().await;
    let (mut client, _) = server.join().await;
    client.send(good()).await;
    assert_eq!(reply(&mut client).await.0["event"], "webrtc:answer");

    for round in 0..40 {
        client.send(close()).await;
        client.send(good()).await;
        let (reply, before) = reply(&mut client).await;
        assert_eq!(reply["event"], "webrtc:answer", "round {round}: {reply}");
        let ends = before.iter().filter(|message| message["data"]["state"] == "closed");
        let ends: Vec<_> = ends.map(|message| &message["data"]).collect();
        assert_eq!(ends, [&json!({ "state": "closed" })], "round {round}");
    }
    // However many of them come at once.
    for _ in 0..10 {
        client.send(good()).await;
        client.send(close()).await;
        client.send(close()).await;
    }
    client.send(good()).await;
    for _ in 0..11 {
        let (reply, _) = reply(&mut client).await;
        assert_eq!(reply["event"], "webrtc:answer", "{reply}");
    }
}

#[actix::test]
async fn an_offer_beside_the_end_of_the_server_peer_is_answered() {
    let server = patient().await;
    let (mut client, _) = server.join().await;
    let node = server.rooms.lookup("demo").expect("a room").supervisor().expect("it runs");
    let name = format!("webrtc:{}", client.id);
    client.send(good()).await;
    assert_eq!(reply(&mut client).await.0["event"], "webrtc:answer");

    for round in 0..10 {
        for fault in
            [Fault::Kill, Fault::Panic("injected".to_owned()), Fault::Exit(ExitReason::Normal)]
        {
            let what = format!("round {round}, {fault:?}");
            // Sometimes one comes first, sometimes the other.
            let (injected, ()) = if round % 2 == 0 {
                tokio::join!(node.inject(&name, fault), client.send(good()))
            } else {
                let sent = client.send(good()).await;
                (node.inject(&name, fault).await, sent)
            };
            injected.expect("a server peer");
            // The fault may hit a server peer that has already answered.
            let (mut answered, mut ended) = (false, false);
            while !(answered && ended) {
                let message = client.message().await;
                assert_ne!(message["event"], "error", "{what}: {message}");
                answered |= message["event"] == "webrtc:answer";
                let state = message["data"]["state"].as_str();
                ended |= message["event"] == "webrtc:state"
                    && matches!(state, Some("failed" | "closed"));
            }
            // A candidate after an offer reaches the server peer that the offer has reached.
            client.send(good()).await;
            let nonsense = json!({ "candidate": "candidate:nonsense", "sdpMLineIndex": 0 });
            client.send(json!({ "event": "webrtc:ice", "data": nonsense })).await;
            let (answer, _) = reply(&mut client).await;
            assert_eq!(answer["event"], "webrtc:answer", "{what}: {answer}");
            let (told, _) = reply(&mut client).await;
            assert_eq!(told["data"]["details"]["error"], "bad_candidate", "{what}: {told}");
        }
    }
}

#[actix::test]
async fn a_client_does_not_get_a_fresh_budget_by_closing() {
    let budget = |burst| DescriptionBudget { burst, per_second: 1 };
    let limits = WebRtcLimits { descriptions: budget(100), ..WebRtcLimits::default() };
    let server = server(limits).await;
    let (mut client, _) = server.join().await;
    let (mut other, _) = server.join().await;

    assert_eq!(refusal(&mut client, wrong(60)).await["error"], "bad_description");
    for round in 0..3 {
        client.send(close()).await;
        let over = refusal(&mut client, wrong(60)).await;
        assert_eq!(over["error"], "rate_limited", "round {round}: {over}");
    }
    assert_eq!(refusal(&mut other, wrong(60)).await["error"], "bad_description");
}

#[actix::test]
async fn a_client_does_not_get_fresh_offers_by_closing() {
    let offers = Rate { messages_per_second: 0, burst_messages: 3, ..Rate::default() };
    let server = server(WebRtcLimits { offers, ..WebRtcLimits::default() }).await;
    let (mut client, _) = server.join().await;
    let (mut other, _) = server.join().await;

    for _ in 0..3 {
        assert_eq!(refusal(&mut client, wrong(1)).await["error"], "bad_description");
        client.send(close()).await;
    }
    // Also when it goes on.
    for round in 0..10 {
        let over = refusal(&mut client, wrong(1)).await;
        assert_eq!(over["error"], "rate_limited", "round {round}: {over}");
        client.send(close()).await;
    }
    assert_eq!(refusal(&mut other, wrong(1)).await["error"], "bad_description");
}

#[actix::test]
async fn an_offer_that_is_too_many_closes_the_connection_and_says_why() {
    let offers = Rate { messages_per_second: 0, burst_messages: 1, ..Rate::default() };
    let server = server(WebRtcLimits { offers, ..WebRtcLimits::default() }).await;
    let (mut client, _) = server.join().await;

    client.send(good()).await;
    assert_eq!(reply(&mut client).await.0["event"], "webrtc:answer");
    let mut heard = Vec::new();
    for _ in 0..4 {
        client.send(good()).await;
        let (over, before) = reply(&mut client).await;
        assert_eq!(over["data"]["details"]["error"], "rate_limited", "{over}");
        heard.extend(before);
    }
    let end = json!({ "state": "closed", "reason": "rate_limited" });
    assert_eq!(heard.iter().filter(|message| message["data"] == end).count(), 1, "{heard:?}");
}

#[actix::test]
async fn what_an_address_may_not_is_not_charged_to_the_client() {
    let budget = |burst| DescriptionBudget { burst, per_second: 1 };
    let server = server(WebRtcLimits {
        descriptions: budget(70),
        descriptions_per_address: budget(100),
        ..WebRtcLimits::default()
    })
    .await;
    let (mut first, _) = server.join().await;
    let (mut second, _) = server.join().await;

    assert_eq!(refusal(&mut first, wrong(60)).await["error"], "bad_description");
    // The address has 40 left, and a few that have been regained.
    assert_eq!(refusal(&mut second, wrong(63)).await["error"], "rate_limited");
    assert_eq!(refusal(&mut second, wrong(40)).await["error"], "bad_description");
}
