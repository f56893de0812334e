//! Tests of the core: texts in, events out.

use serde_json::json;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a start to count from")]
fn core() -> (Core, Instant) {
    let now = Instant::now();
    let address = Address::parse("ws://a/room", &ClientOptions::new()).expect("an address");
    let address = Arc::new(address);
    let mut core =
        Core::new(address, &ClientOptions::new().queue(2), fastrand::Rng::with_seed(1), now);
    outputs(&mut core);
    (core, now)
}

/// Returns a core that has joined as `me`, beside `a`.
fn joined() -> (Core, Instant) {
    let (mut core, now) = core();
    core.handle_text(&welcome("me", &["a"]), now);
    assert_eq!(outputs(&mut core), [Output::Admitted]);
    (core, now)
}

fn welcome(peer_id: &str, peers: &[&str]) -> String {
    let resume = json!({ "token": "T", "grace_ms": 30_000 });
    let data = json!({ "peer_id": peer_id, "peers": peers, "resume": resume });
    json!({ "event": "authenticated", "data": data, "from": null }).to_string()
}

fn outputs(core: &mut Core) -> Vec<Output> {
    std::iter::from_fn(|| core.poll_output()).collect()
}

/// Returns what a text has made the core report.
fn events(core: &mut Core, text: &str, now: Instant) -> Vec<ClientEvent> {
    core.handle_text(text, now);
    let event = |output| match output {
        Output::Event(event) => event,
        other => panic!("{other:?}"),
    };
    outputs(core).into_iter().map(event).collect()
}

fn member(peer_id: &str) -> RoomMember {
    RoomMember { peer_id: peer_id.to_owned(), metadata: Value::Null }
}

fn left(peer_id: &str) -> ClientEvent {
    ClientEvent::Left { peer_id: peer_id.to_owned() }
}

fn lose(core: &mut Core, code: u16, now: Instant) {
    core.handle_loss(Loss::Ended { code, reason: String::new() }, now);
    outputs(core);
}

/// Lets the next attempt begin.
fn reopen(core: &mut Core) -> Instant {
    let now = core.poll_timeout().expect("an attempt is due");
    core.handle_timeout(now);
    outputs(core);
    now
}

#[test]
fn no_text_of_a_server_makes_it_panic() {
    let values = ["null", "1", "\"x\"", "[]", "{}", "[null]", "{\"peer_id\":1}", "\"\"", "true"];
    let names = [
        "authenticated",
        "resumed",
        "joined",
        "left",
        "room_restarted",
        "room_members",
        "error",
        "webrtc:data",
        "webrtc:state",
        "webrtc:x",
        "chat",
        "",
    ];
    let frames = ["call_hook", "hook_reply", "hook_error", "cancel_hook", "x"];
    for has_joined in [false, true] {
        for value in values {
            for name in names {
                let (mut core, now) = if has_joined { joined() } else { self::core() };
                core.handle_text(&format!(r#"{{"event":"{name}","data":{value}}}"#), now);
                core.handle_text(&format!(r#"{{"event":"{name}","to":{value}}}"#), now);
                core.handle_text(&format!(r#"{{"event":"{name}","from":{value}}}"#), now);
                core.handle_text(&format!(r#"{{"event":{value}}}"#), now);
                core.handle_text(value, now);
                for field in ["peer_id", "peers", "resume", "description", "channel", "metadata"] {
                    let data = format!(r#"{{"peer_id":"me","{field}":{value}}}"#);
                    core.handle_text(&format!(r#"{{"event":"{name}","data":{data}}}"#), now);
                }
                outputs(&mut core);
            }
            for kind in frames {
                let (mut core, now) = joined();
                core.register("f");
                for field in ["id", "fn", "args", "data", "error", "type"] {
                    let text = format!(r#"{{"type":"{kind}","fn":"f","{field}":{value}}}"#);
                    core.handle_text(&text, now);
                }
                outputs(&mut core);
            }
        }
        let (mut core, now) = joined();
        let deep = "[".repeat(100_000);
        for text in ["", "{", "\u{0}", "{\"event\":\"\\ud800\"}", &deep] {
            core.handle_text(text, now);
        }
        assert_eq!((core.malformed(), outputs(&mut core)), (5, vec![]));
    }
}

#[test]
fn members_come_and_go() {
    let (mut core, now) = joined();
    assert_eq!((core.peer_id(), core.members()), ("me", vec![member("a")]));

    let data = json!({ "peer_id": "b", "metadata": { "name": "Bea" } });
    let text = json!({ "event": "joined", "data": data, "from": null }).to_string();
    let bea = RoomMember { peer_id: "b".into(), metadata: json!({ "name": "Bea" }) };
    assert_eq!(events(&mut core, &text, now), [ClientEvent::Joined(bea)]);
    let text = r#"{"event":"joined","data":{"peer_id":"me"},"from":null}"#;
    assert_eq!(events(&mut core, text, now), []);
    let text = r#"{"event":"left","data":{"peer_id":"a"},"from":null}"#;
    assert_eq!(events(&mut core, text, now), [left("a")]);
    let text = r#"{"event":"room_restarted","data":{"peers":["me","c"]},"from":null}"#;
    let expected = [left("b"), ClientEvent::Joined(member("c")), ClientEvent::RoomRestarted];
    assert_eq!(events(&mut core, text, now), expected);
    assert_eq!(core.malformed(), 0);
}

#[test]
fn the_list_of_members_repairs_what_was_lost_with_a_connection() {
    let (mut core, now) = joined();
    let known =
        r#"{"event":"joined","data":{"peer_id":"b","metadata":{"name":"Ben"}},"from":null}"#;
    events(&mut core, known, now);
    // Meanwhile `a` has left, `c` and `d` have come, and `d` said something before it left.
    let joined = r#"{"event":"joined","data":{"peer_id":"d"},"from":null}"#;
    assert_eq!(events(&mut core, joined, now), [ClientEvent::Joined(member("d"))]);
    let list = json!({ "peers": ["b", "c", "me"], "metadata": { "c": { "name": "Cid" } } });
    let text = json!({ "event": "room_members", "data": list, "from": null }).to_string();

    let told = events(&mut core, &text, now);

    let cid = RoomMember { peer_id: "c".into(), metadata: json!({ "name": "Cid" }) };
    assert_eq!(told, [left("a"), left("d"), ClientEvent::Joined(cid.clone())]);
    let ben = RoomMember { peer_id: "b".into(), metadata: json!({ "name": "Ben" }) };
    assert_eq!(core.members(), [ben, cid]);
    assert_eq!(events(&mut core, &text, now), []);
    let other = r#"{"event":"room_members","data":{"peers":1},"from":null}"#;
    assert_eq!(events(&mut core, other, now), []);
    assert_eq!(core.malformed(), 1);
}

#[test]
fn peers_cannot_imitate_the_server() {
    let (mut core, now) = joined();
    for event in
        ["room_members", "joined", "left", "error", "resumed", "authenticated", "webrtc:data"]
    {
        let data = json!({ "peer_id": "a" });
        let text = json!({ "event": event, "data": data, "from": "a", "to": ["me"] }).to_string();

        let message = ClientMessage {
            event: event.into(),
            data,
            from: Some("a".into()),
            to: Recipients::Peers(vec!["me".into()]),
        };
        assert_eq!(events(&mut core, &text, now), [ClientEvent::Message(message)]);
    }
    assert_eq!(core.members(), [member("a")]);
}

#[test]
fn texts_wait_for_the_connection_and_no_more_than_the_limit() {
    let (mut core, now) = joined();
    core.send("0".into(), now).unwrap();
    assert_eq!(core.poll_text().as_deref(), Some("0"));
    lose(&mut core, 1006, now);

    core.send("1".into(), now).unwrap();
    core.send("2".into(), now).unwrap();
    assert_eq!(core.send("3".into(), now), Err(SendMessageError::QueueFull));
    assert_eq!(core.poll_text(), None);
    let now = reopen(&mut core);
    assert_eq!(core.poll_text(), None, "not joined yet");
    core.handle_text(&welcome("me", &[]).replace("authenticated", "resumed"), now);

    let kinds: Vec<_> = outputs(&mut core).into_iter().collect();
    assert_eq!(kinds.first(), Some(&Output::Event(ClientEvent::Resumed)));
    assert_eq!((core.poll_text().as_deref(), core.poll_text().as_deref()), (Some("1"), Some("2")));
}

#[test]
fn a_full_connection_takes_no_more() {
    let (mut core, now) = joined();
    core.send("x".repeat(2 << 20), now).unwrap();
    assert_eq!(core.send("1".into(), now), Err(SendMessageError::QueueFull));
    assert_eq!(core.call("a", "b", &json!([])), Err(CallFunctionError::QueueFull));
    core.poll_text();
    core.send("1".into(), now).unwrap();
}

#[test]
fn a_call_outlives_a_connection_that_is_resumed_and_no_other() {
    let (mut core, now) = joined();
    let id = core.call("chess", "move", &json!([])).unwrap();
    lose(&mut core, 1006, now);
    assert_eq!(core.call("chess", "move", &json!([])), Err(CallFunctionError::Disconnected));
    let now = reopen(&mut core);
    core.handle_text(&welcome("me", &[]).replace("authenticated", "resumed"), now);
    outputs(&mut core);
    assert!(core.poll_text().unwrap().contains("chess"), "it was not sent before");
    core.handle_text(&format!(r#"{{"type":"hook_reply","id":{id},"data":7}}"#), now);
    assert_eq!(outputs(&mut core), [Output::Done(id, Ok(json!(7)))]);

    let id = core.call("chess", "move", &json!([])).unwrap();
    core.handle_loss(Loss::Ended { code: 1012, reason: String::new() }, now);
    let done = Output::Done(id, Err(CallFunctionError::Disconnected));
    assert!(outputs(&mut core).contains(&done));
    let now = reopen(&mut core);
    core.handle_text(&welcome("you", &["a", "b"]), now);
    assert_eq!(core.poll_text(), None, "it is not sent to another session");
    let rejoined = ClientEvent::Rejoined { peer_id: "you".into(), previous: "me".into() };
    let told = outputs(&mut core);
    assert_eq!(
        told[..2],
        [Output::Event(ClientEvent::Joined(member("b"))), Output::Event(rejoined),]
    );
}

/// Its offer would be answered beside that of the connection that replaces it, which would take the first answer for
/// its own.
#[cfg(feature = "webrtc")]
#[test]
fn a_peer_connection_that_has_not_heard_of_a_new_session_sends_nothing_in_it() {
    let offer = json!({ "type": "offer", "sdp": "" });
    let (mut core, now) = joined();
    let first = core.session_number();
    assert!(core.signal(first, "webrtc:offer", &offer));
    core.poll_text();
    lose(&mut core, 1006, now);
    let now = reopen(&mut core);
    core.handle_text(&welcome("me", &[]).replace("authenticated", "resumed"), now);
    assert!(outputs(&mut core).contains(&Output::Signal(Signal::Resumed)));
    assert!(core.signal(first, "webrtc:offer", &offer), "the session goes on");
    core.poll_text();

    lose(&mut core, 1012, now);
    let now = reopen(&mut core);
    core.handle_text(&welcome("you", &[]), now);

    let second = core.session_number();
    assert!(outputs(&mut core).contains(&Output::Signal(Signal::NewSession(second))));
    assert!(!core.signal(first, "webrtc:offer", &offer));
    assert_eq!(core.poll_text(), None);
    assert!(core.signal(second, "webrtc:offer", &offer));
}

#[test]
fn a_refused_token_ends_the_calls_too() {
    let (mut core, now) = joined();
    let id = core.call("chess", "move", &json!([])).unwrap();
    lose(&mut core, 1006, now);
    let now = reopen(&mut core);
    let (error, detail, details, retry_after) = Default::default();
    let gone = crate::UpgradeRefusal { status: 410, error, detail, details, retry_after };

    core.handle_loss(Loss::Refused(gone), now);

    assert!(outputs(&mut core).contains(&Output::Done(id, Err(CallFunctionError::Disconnected))));
}

#[test]
fn closing_sends_what_waits_and_ends_the_calls() {
    let (mut core, now) = joined();
    core.send("1".into(), now).unwrap();
    let id = core.call("chess", "move", &json!([])).unwrap();

    core.close();

    let told = outputs(&mut core);
    let Some(Output::Drop { code: Some(1000), left }) = told.first() else { panic!("{told:?}") };
    assert_eq!((left.len(), &*left[0]), (2, "1"));
    assert!(told.contains(&Output::Done(id, Err(CallFunctionError::Closed))));
    assert_eq!(core.send("2".into(), now), Err(SendMessageError::Closed));
    assert_eq!(core.call("a", "b", &json!([])), Err(CallFunctionError::Closed));
}

#[test]
fn what_the_server_has_called_too_large_is_not_sent_again() {
    let (mut core, now) = joined();
    let details = json!({ "max_bytes": 10 });
    let data = json!({ "description": "Message too large", "details": details });
    let text = json!({ "event": "error", "data": data, "from": null }).to_string();
    let error = ServerError::new("Message too large", details);
    assert_eq!(events(&mut core, &text, now), [ClientEvent::Error(error)]);
    lose(&mut core, 1009, now);

    assert_eq!(core.send("x".repeat(11), now), Err(SendMessageError::TooLarge { max_bytes: 10 }));
    core.send("x".repeat(10), now).unwrap();
}
