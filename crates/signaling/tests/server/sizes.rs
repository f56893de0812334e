//! Size limits of clients' messages, each kind by its own limit, and what happens to larger ones.

use std::time::Duration;

use callboard_peer_connection::messages::SendData;
use callboard_signaling::Rejection;
use callboard_signaling::rpc::{HookContext, Hooks};
use callboard_signaling::{CallClientError, DescriptionBudget, PeerRef, WebRtcLimits};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::common::Server;
use crate::common::rtc::{RtcClient, webrtc};

fn hooks() -> (Hooks, mpsc::UnboundedReceiver<PeerRef>) {
    let (clients, met) = mpsc::unbounded_channel();
    let hooks = Hooks::builder().plugin("test", |test| {
        test.hook("length", async |text: String, _: HookContext| Ok::<_, Rejection>(text.len()))
            .hook("double", async |(n,): (i64,), _: HookContext| Ok::<_, Rejection>(n * 2))
            .hook("meet", move |(): (), context: HookContext| {
                let sent = clients.send(context.client).is_ok();
                async move { Ok::<_, Rejection>(sent) }
            })
    });
    (hooks.build().unwrap(), met)
}

async fn server(limits: WebRtcLimits) -> (Server, mpsc::UnboundedReceiver<PeerRef>) {
    let ((hooks, met), webrtc) = (hooks(), webrtc().await.limits(limits));
    (Server::start(move |options| options.webrtc(webrtc).hooks(hooks)).await, met)
}

fn call(id: u64, function: &str, args: Value) -> String {
    json!({ "type": "call_hook", "id": id, "plugin": "test", "fn": function, "args": args })
        .to_string()
}

/// Creates an offer with an unknown attribute of this size, and nothing to connect to.
fn offer(bytes: usize) -> Value {
    let sdp = format!(
        "v=0\r\no=- 7 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=x:{}\r\n",
        "x".repeat(bytes)
    );
    json!({ "event": "webrtc:offer", "data": { "type": "offer", "sdp": sdp } })
}

#[actix::test]
async fn an_offer_may_be_larger_than_a_message_to_others_and_costs_no_connection() {
    // The following costs 290 sections, of 256 that a client has at once.
    let descriptions = DescriptionBudget { burst: 1_000, per_second: 32 };
    let (server, _) = server(WebRtcLimits { descriptions, ..WebRtcLimits::default() }).await;
    let mut client = RtcClient::join(&server).await;

    for size in [70_000, 500_000, 1_000_000] {
        client.heard.clear();
        client.ws.send(offer(size)).await;
        client.until("refusal", |client| client.failed("webrtc:offer", "bad_description")).await;
        assert!(client.events("error").all(|data| data["details"]["detail"].is_string()));
    }

    // A usable one is answered, in whichever order the sender has put its members.
    client.channel("chat").await;
    let offer = client.local_description().await;
    let sdp = offer["sdp"].as_str().unwrap().to_owned();
    let padded = format!("{sdp}a=x:{}\r\n", "x".repeat(200_000));
    let text = format!(
        r#"{{"data":{{"sdp":{},"type":"offer"}},"event":"webrtc:offer"}}"#,
        serde_json::to_string(&padded).unwrap()
    );
    client.ws.text(&text).await;
    client.until("answer", |client| client.events("webrtc:answer").next().is_some()).await;
    let answer = client.events("webrtc:answer").next().unwrap()["sdp"].as_str().unwrap();
    assert!(answer.contains("a=max-message-size:262144"), "{answer}");
}

#[actix::test]
async fn what_is_larger_than_its_kind_may_be_is_too_large() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let large = "x".repeat(70_000);
    let huge = "x".repeat(1_100_000);
    let (others, any) = (65_536, 1_048_576);
    let (mut bystander, _) = server.join().await;
    for (text, limit) in [
        (json!({ "event": "chat", "data": large, "to": "all" }).to_string(), others),
        (large.clone(), others),
        // A message that only mentions the server's events.
        (json!({ "event": "chat", "data": format!("\"webrtc:offer\" \"call_hook\" {large}"), "to": "all" }).to_string(), others),
        (json!({ "event": "webrtc:offer", "data": large, "to": "all" }).to_string(), others),
        (offer(1_100_000).to_string(), any),
        (call(1, "length", json!([huge])), any),
        (huge, any),
    ] {
        let (mut client, _) = server.join().await;
        client.text(&text).await;
        let details = client.expect_error("Message too large").await;
        assert_eq!(details, json!({ "max_bytes": limit }), "{}", &text[..40]);
        client.expect_close(1009).await;
        // So that the next one does not hear of it.
        bystander.expect("joined").await;
        bystander.expect("left").await;
    }
    let (mut client, _) = server.join().await;
    client.send(json!({ "event": "echo", "data": "x".repeat(65_000), "to": [client.id] })).await;
    client.expect("echo").await;
}

/// Without WebRTC and hooks no message is for the server, and nothing larger is read.
#[actix::test]
async fn a_server_that_takes_no_control_messages_keeps_to_its_limit() {
    let server = Server::start(|options| options).await;
    let (mut client, _) = server.join().await;

    client.send(offer(70_000)).await;

    client.expect_error("Message too large").await;
    client.expect_close(1009).await;
}

#[actix::test]
async fn a_call_that_is_too_large_is_refused_by_its_id_both_ways() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;
    let refused = json!({ "type": "hook_error", "id": 1, "plugin": "test", "fn": "length", "error": "too_large" });

    for size in [70_000, 250_000, 900_000] {
        client.heard.clear();
        client.ws.text(&call(1, "length", json!(["x".repeat(size)]))).await;
        client.until("refusal", |client| client.heard.contains(&refused)).await;
    }
    for size in [70_000, 250_000] {
        let before = client.texts(events).count();
        client.say(events, &call(1, "length", json!(["x".repeat(size)]))).await;
        client.until("refusal", |client| client.texts(events).count() > before).await;
        let answer: Value = serde_json::from_str(client.texts(events).last().unwrap()).unwrap();
        assert_eq!(answer, refused);
    }

    // The largest accepted one.
    let envelope = call(2, "length", json!([""])).len();
    client.ws.text(&call(2, "length", json!(["x".repeat(65_536 - envelope)]))).await;
    let length = 65_536 - envelope;
    client.until("reply", |client| client.heard.iter().any(|heard| heard["data"] == length)).await;
}

#[actix::test]
async fn an_answer_of_a_client_that_is_too_large_is_one_and_costs_no_connection() {
    let (server, mut met) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    client.ws.text(&call(1, "meet", json!([]))).await;
    let them = met.recv().await.unwrap();

    let calling =
        actix::spawn(async move { them.call("greet", &(), Duration::from_secs(30)).await });
    client.until("call", |client| client.heard.iter().any(|heard| heard["fn"] == "greet")).await;
    let asked = client.heard.iter().find(|heard| heard["fn"] == "greet").unwrap()["id"].clone();
    client.ws.send(json!({ "type": "hook_reply", "id": asked, "data": "x".repeat(70_000) })).await;

    assert_eq!(calling.await.unwrap(), Err(CallClientError::Refused("too_large".to_owned())));
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
}

#[actix::test]
async fn what_descriptions_promise_to_take_is_taken_and_what_is_larger_says_which_channel() {
    for limit in [1_000, 65_536, 262_144] {
        let limits = WebRtcLimits { message: limit, ..WebRtcLimits::default() };
        let (server, _) = server(limits).await;
        let mut client = RtcClient::join(&server).await;
        let chat = client.open("chat").await;
        let answer = client.events("webrtc:answer").next().unwrap()["sdp"].as_str().unwrap();
        assert!(answer.contains(&format!("a=max-message-size:{limit}\r\n")), "{answer}");

        client.say(chat, &"x".repeat(limit as usize)).await;
        client
            .until("echo", |client| client.texts(chat).any(|text| text.len() == limit as usize))
            .await;
        // Over the WebSocket in its stead, one is accepted as well.
        let say = |size: usize| json!({ "event": "webrtc:send", "data": { "channel": "other", "data": "x".repeat(size) } });
        client.ws.send(say(limit as usize)).await;
        client.until("echo", |client| client.events("webrtc:data").next().is_some()).await;

        client.ws.send(say(limit as usize + 1)).await;
        client.until("refusal", |client| client.failed("webrtc:send", "too_large")).await;
        let details = client.events("error").last().unwrap()["details"].clone();
        let expected = json!({ "event": "webrtc:send", "error": "too_large", "channel": "other", "max_bytes": limit });
        assert_eq!(details, expected);
        // Of a long label only the start is repeated.
        let data = json!({ "channel": "l".repeat(10_000), "data": "x".repeat(limit as usize + 1) });
        client.ws.send(json!({ "event": "webrtc:send", "data": data })).await;
        let cut = json!({ "event": "webrtc:send", "error": "too_large", "channel": "l".repeat(64), "max_bytes": limit });
        client
            .until("refusal", |client| client.events("error").any(|data| data["details"] == cut))
            .await;
        // A client that obeys the description sends none.
        let larger = SendData::text(chat, "x".repeat(limit as usize + 1));
        assert!(client.connection.send(larger).await.unwrap().is_err(), "{limit}");
    }
}

#[actix::test]
async fn a_client_that_does_not_keep_to_the_description_is_told_the_channel_and_the_call() {
    let (server, _) = server(WebRtcLimits { message: 2_000, ..WebRtcLimits::default() }).await;
    let mut client = RtcClient::join(&server).await;
    client.believes = Some(1 << 20);
    let events = client.open("events").await;
    let chat = client.channel("chat").await;
    client.opened(chat).await;

    client.say(chat, &"x".repeat(2_001)).await;
    client.until("refusal", |client| client.failed("data", "too_large")).await;
    let details = client.events("error").last().unwrap()["details"].clone();
    let expected =
        json!({ "event": "data", "error": "too_large", "channel": "chat", "max_bytes": 2_000 });
    assert_eq!(details, expected);
    assert_eq!(client.texts(events).count(), 0);

    client.say(events, &call(1, "length", json!(["x".repeat(2_000)]))).await;
    client.until("refusal", |client| client.texts(events).next().is_some()).await;
    let answer: Value = serde_json::from_str(client.texts(events).next().unwrap()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]), (&json!(1), &json!("too_large")));
    client.say(chat, "still there").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "still there")).await;
}

/// The connection survives messages of twice the limit, and ends with one that no description allows.
#[actix::test]
async fn a_client_that_sends_far_more_than_is_taken_hears_why_its_connection_ends() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    client.believes = Some(1 << 20);
    let chat = client.open("chat").await;

    client.say(chat, &"x".repeat(512 << 10)).await;
    client.until("refusal", |client| client.failed("data", "too_large")).await;
    let details = client.events("error").last().unwrap()["details"].clone();
    let expected =
        json!({ "event": "data", "error": "too_large", "channel": "chat", "max_bytes": 262_144 });
    assert_eq!(details, expected);
    client.say(chat, "still there").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "still there")).await;

    client.say(chat, &"x".repeat((512 << 10) + 1)).await;
    let reason = "failed: SCTP: the peer sends a message larger than is taken";
    let end = json!({ "state": "closed", "reason": reason });
    client.until("end", |client| client.events("webrtc:state").any(|data| *data == end)).await;
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
}

#[actix::test]
async fn whole_numbers_with_a_point_are_taken_and_bad_arguments_are_named() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let (mut client, _) = server.join().await;

    client.text(&call(1, "double", json!([10.0]))).await;
    assert_eq!(client.message().await["data"], 20);
    client.text(&call(2, "double", json!([10.5]))).await;
    let refused = client.message().await;
    assert_eq!((&refused["error"], &refused["argument"]), (&json!("invalid_args"), &json!(0)));
    assert!(refused["detail"].as_str().unwrap().contains("expected i64"), "{refused}");
    client.text(&call(3, "double", json!({ "n": 1 }))).await;
    assert_eq!(client.message().await["detail"], "args must be a list");
}

#[actix::test]
async fn bad_descriptions_and_candidates_say_what_is_wrong_with_them() {
    let (server, _) = server(WebRtcLimits::default()).await;
    let mut client = RtcClient::join(&server).await;

    for data in [
        json!({ "sdp": "v=0" }),
        json!("v=0"),
        json!({ "type": "OFFER", "sdp": "v=0" }),
        json!({ "type": "offer" }),
        json!({ "type": "offer", "sdp": "v=0" }),
        json!({ "type": "offer", "sdp": "" }),
        json!(null),
    ] {
        client.heard.clear();
        client.ws.send(json!({ "event": "webrtc:offer", "data": data })).await;
        client.until("refusal", |client| client.failed("webrtc:offer", "bad_description")).await;
        let detail = &client.events("error").last().unwrap()["details"]["detail"];
        assert!(detail.as_str().is_some_and(|detail| !detail.is_empty()), "{data}");
    }

    client.open("chat").await;
    let candidate = |index: Value| {
        let candidate = "candidate:1 1 udp 2122260223 127.0.0.1 9 typ host";
        json!({ "event": "webrtc:ice", "data": { "candidate": candidate, "sdpMLineIndex": index } })
    };
    for index in [json!(1.5), json!(-1), json!("x"), json!(true), json!(70_000), json!(99)] {
        client.heard.clear();
        client.ws.send(candidate(index.clone())).await;
        client.until("refusal", |client| client.failed("webrtc:ice", "bad_candidate")).await;
        let detail = &client.events("error").last().unwrap()["details"]["detail"];
        assert!(detail.as_str().is_some_and(|detail| !detail.is_empty()), "{index}");
    }
    client.heard.clear();
    for index in [json!(0), json!(0.0), json!("0")] {
        client.ws.send(candidate(index)).await;
    }
    client.ws.send(json!({ "event": "whoami", "to": [client.ws.id] })).await;
    client.until("answer", |client| client.events("you_are").next().is_some()).await;
    assert_eq!(client.events("error").count(), 0);
}
