//! Texts of clients of every shape, and what each is taken for: a message to others, an event for the client's peer
//! connection, a frame of RPC, or none of them. Each goes from a real WebSocket to a real room.

use callboard_room_supervisor::MessageLimits;
use callboard_signaling::rpc::{HookContext, Hooks};
use callboard_signaling::{Rate, Rejection};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::common::rtc::webrtc;
use crate::common::{Client, Server};

/// Largest message to others, and to the server, in bytes.
const LIMITS: (usize, usize) = (2_000, 8_000);

/// Starts a server with everything that a text may be for.
async fn full_server() -> Server {
    let hooks = Hooks::builder().plugin("test", |test| {
        test.hook("add", async |(a, b): (i64, i64), _: HookContext| Ok::<_, Rejection>(a + b))
    });
    let (hooks, webrtc) = (hooks.build().expect("good names"), webrtc().await);
    Server::start(move |options| {
        let limits = MessageLimits { addressees: 4, ..MessageLimits::default() };
        let options = options.rate(Rate::UNLIMITED).message_limits(limits);
        let (message, control) = LIMITS;
        options.max_message(message).max_control_message(control).webrtc(webrtc).hooks(hooks)
    })
    .await
}

/// A client that sends texts, and another one in its room.
struct Pair<'a> {
    server: &'a Server,
    sender: Client,
    other: Client,
}

impl<'a> Pair<'a> {
    async fn join(server: &'a Server) -> Self {
        let (other, _) = server.join().await;
        let (sender, _) = server.join().await;
        Self { server, sender, other }
    }

    /// Sends a text, in which `ME` is the sender's id; returns what the sender hears of it, at least this many things,
    /// and then what the other one gets.
    async fn outcome(&mut self, text: &str, least: usize) -> Vec<String> {
        let me = self.sender.id.clone();
        let told = |text: &str| in_short(&text.replace(&me, "ME"));
        self.sender.text(&text.replace("ME", &me)).await;
        // What follows is handled after it. A connection that the text has ended takes no more.
        for (event, to) in [("whoami", json!([me])), ("mark", json!("all"))] {
            let marker = json!({ "event": event, "to": to }).to_string();
            _ = self.sender.socket.send(Frame::text(marker)).await;
        }
        let (mut heard, mut is_marked) = (Vec::new(), false);
        while !is_marked || heard.len() < least {
            match self.sender.next().await {
                Some(Frame::Text(text)) if text.contains("\"you_are\"") => is_marked = true,
                Some(Frame::Text(text)) if is_of_members(&text) => {}
                Some(Frame::Text(text)) => heard.push(told(&text)),
                end => {
                    let Some(Frame::Close(Some(close))) = end else { panic!("{text}: {end:?}") };
                    heard.push(format!("closed {}", u16::from(close.code)));
                    (self.sender, _) = self.server.join().await;
                    return heard;
                }
            }
        }
        loop {
            let text = match self.other.next().await {
                Some(Frame::Text(text)) => text,
                end => panic!("{text}: {end:?}"),
            };
            if is(&text, "mark") {
                return heard;
            }
            if !is_of_members(&text) {
                heard.push(format!("other: {}", text.replace(&me, "ME")));
            }
        }
    }
}

fn is(text: &str, event: &str) -> bool {
    text.starts_with(&format!(r#"{{"event":"{event}","#))
}

/// Returns whether a text says who comes or goes: senders whose connection has ended leave, at any time, and others
/// come in their stead.
fn is_of_members(text: &str) -> bool {
    is(text, "joined") || is(text, "left")
}

/// Returns an error, or a frame of RPC, in few words; any other text as it is.
fn in_short(text: &str) -> String {
    let json: Value = serde_json::from_str(text).expect("JSON");
    let data = &json["data"];
    match (json["event"].as_str(), json["type"].as_str()) {
        (Some("error"), _) => {
            let description = data["description"].as_str().expect("a string");
            format!("{description}: {}", data["details"])
        }
        (None, Some(kind)) => {
            let words = ["id", "data", "error", "argument", "detail"].map(|name| &json[name]);
            let words = words.into_iter().filter(|word| !word.is_null()).map(Value::to_string);
            format!("{kind} {}", words.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
        }
        _ => text.to_owned(),
    }
}

/// Sends each text; compares what it has led to.
async fn assert_outcomes(server: &Server, table: &[(String, Vec<String>)]) {
    let mut pair = Pair::join(server).await;
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let least = expected.iter().filter(|outcome| !outcome.starts_with("other: ")).count();
        let outcome = pair.outcome(text, least).await;
        if outcome != *expected {
            let start: String = text.chars().take(200).collect();
            wrong.push(format!("{start}\n  expected {expected:?}\n  was      {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

/// Creates a row of a table.
fn row(text: impl Into<String>, outcomes: &[&str]) -> (String, Vec<String>) {
    (text.into(), outcomes.iter().map(|outcome| (*outcome).to_owned()).collect())
}

/// Creates a row for a text that is none of all.
fn invalid(text: impl Into<String>, why: &str) -> (String, Vec<String>) {
    (text.into(), vec![format!("Invalid message: {}", json!(why))])
}

/// Creates a row for a text that reaches the other one as this message.
fn forwarded(text: impl Into<String>, message: &str) -> (String, Vec<String>) {
    (text.into(), vec![format!("other: {message}")])
}

/// Returns lists within lists.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

const NOT_JSON: &str = "not JSON";
const NOT_AN_OBJECT: &str = "not an object";
const TWICE: &str = "a field is given twice";
const TOO_DEEP: &str = "nested too deeply";
const EVENT: &str = "event must be a string";
const RESERVED: &str = "reserved event";
const EMPTY: &str = "to is empty";
const MALFORMED: &[&str] = &[r#"hook_error "malformed""#];
const PLAIN: &str = r#"{"event":"chat","data":null,"from":"ME","to":"all"}"#;
/// Members of a call, without the braces.
const CALL: &str = r#""type":"call_hook","id":1,"plugin":"test","fn":"add","args":[2,3]"#;
const CALLED: &[&str] = &["hook_reply 1 5"];

#[actix::test]
async fn a_text_for_others_reaches_them_as_it_was_written() {
    let server = full_server().await;
    let (deep, deeper) = (nested(64), nested(65));
    let strange =
        r#"{"a": 1.50,"b":[1e400,-0.0,123456789012345678901234567890],"c":"\ud800 \u0041"}"#;

    assert_outcomes(
        &server,
        &[
            forwarded(r#"{"event":"chat","to":"all"}"#, PLAIN),
            forwarded(" \t\r\n{ \"to\" : \"all\" ,\n\"event\" : \"chat\" } \n", PLAIN),
            forwarded(r#"{"event":"chat","data":null,"to":"all","from":"you","x":[1]}"#, PLAIN),
            forwarded(
                format!(r#"{{"event":"chat","data": {strange} ,"to":"all"}}"#),
                &format!(r#"{{"event":"chat","data":{strange},"from":"ME","to":"all"}}"#),
            ),
            forwarded(
                format!(r#"{{"event":"chat","data":{deep},"to":"all"}}"#),
                &format!(r#"{{"event":"chat","data":{deep},"from":"ME","to":"all"}}"#),
            ),
            invalid(format!(r#"{{"event":"chat","data":{deeper},"to":"all"}}"#), TOO_DEEP),
            invalid(format!(r#"{{"event":"chat","x":{deeper},"to":"all"}}"#), TOO_DEEP),
            // Escapes change nothing, in names and in words.
            forwarded(r#"{"\u0065vent":"chat","t\u006f":"all"}"#, PLAIN),
            forwarded(r#"{"event":"ch\u0061t","to":"all"}"#, PLAIN),
            // Only the addressees are read as they are written.
            invalid(r#"{"event":"chat","to":"\u0061ll"}"#, TO),
            forwarded(
                r#"{"event":"\"webrtc:offer\" \"call_hook\"","to":"all"}"#,
                r#"{"event":"\"webrtc:offer\" \"call_hook\"","data":null,"from":"ME","to":"all"}"#,
            ),
            row(
                r#"{"event":"chat","to":["ME"]}"#,
                &[r#"{"event":"chat","data":null,"from":"ME","to":["ME"]}"#],
            ),
            // The members of other kinds of text are of no account in a message, twice or not.
            forwarded(format!(r#"{{"event":"chat","to":"all",{CALL}}}"#), PLAIN),
            forwarded(r#"{"event":"chat","to":"all","type":7,"id":{},"id":[],"fn":null}"#, PLAIN),
            forwarded(r#"{"event":"chat","to":"all","from":1,"from":2,"x":1,"x":2}"#, PLAIN),
            forwarded(
                r#"{"event":"chat","data":"\"type\":\"call_hook\"","to":"all"}"#,
                r#"{"event":"chat","data":"\"type\":\"call_hook\"","from":"ME","to":"all"}"#,
            ),
            forwarded(
                r#"{"event":"chat","data":{"event":"webrtc:close"},"to":"all"}"#,
                r#"{"event":"chat","data":{"event":"webrtc:close"},"from":"ME","to":"all"}"#,
            ),
        ],
    )
    .await;
}

#[actix::test]
async fn a_text_that_cannot_be_delivered_is_answered_with_the_reason() {
    let server = full_server().await;

    assert_outcomes(
        &server,
        &[
            invalid("", NOT_JSON),
            invalid("hello", NOT_JSON),
            invalid("{", NOT_JSON),
            invalid("{}}", NOT_JSON),
            invalid("[1,]", NOT_JSON),
            invalid("[1]", NOT_AN_OBJECT),
            invalid("7", NOT_AN_OBJECT),
            invalid("1e400", NOT_AN_OBJECT),
            invalid("null", NOT_AN_OBJECT),
            invalid("\"x\"", NOT_AN_OBJECT),
            invalid(r#" ["chat",null,"all"]"#, NOT_AN_OBJECT),
            invalid("\u{feff}{\"event\":\"chat\",\"to\":\"all\"}", NOT_JSON),
            invalid("\u{c}{\"event\":\"chat\",\"to\":\"all\"}", NOT_JSON),
            invalid(r#"{"event":"chat","to":"all"} x"#, NOT_JSON),
            invalid(r#"{"event":"chat","to":"all",}"#, NOT_JSON),
            invalid(r#"{"event":"chat","to":nul}"#, NOT_JSON),
            invalid(r#"{"event":"chat","x":01,"to":"all"}"#, NOT_JSON),
            invalid(r#"{"\ud800":1,"event":"chat","to":"all"}"#, NOT_JSON),
            invalid("[".repeat(100), TOO_DEEP),
            invalid(format!("{}x", nested(100)), TOO_DEEP),
            // No discriminant, or one of another kind.
            invalid("{}", EVENT),
            invalid(r#"{"to":"all"}"#, EVENT),
            invalid(r#"{"event":null,"to":"all"}"#, EVENT),
            invalid(r#"{"event":1e400,"to":"all"}"#, EVENT),
            invalid(r#"{"event":["webrtc:close"],"to":"all"}"#, EVENT),
            invalid(r#"{"event":"\ud800","to":"all"}"#, EVENT),
            invalid(r#"{"type":"chat","to":"all"}"#, EVENT),
            invalid(r#"{"type":7}"#, EVENT),
            invalid(r#"{"type":"chat","id":{}}"#, EVENT),
            row(r#"{"type":"chat","id":{},"x":"call_hook"}"#, MALFORMED),
            invalid(r#"{"type":"chat","x":"call_hook"}"#, EVENT),
            // Addressees.
            invalid(r#"{"event":"chat"}"#, TO),
            invalid(r#"{"event":"chat","to":null}"#, TO),
            invalid(r#"{"event":"chat","to":"everyone"}"#, TO),
            invalid(r#"{"event":"chat","to":7}"#, TO),
            invalid(r#"{"event":"chat","to":{"x":1}}"#, TO),
            invalid(r#"{"event":"chat","to":[]}"#, EMPTY),
            invalid(
                r#"{"event":"chat","to":["ME","zz"]}"#,
                "to lists what is no peer id: \"zz\", at index 1",
            ),
            invalid(r#"{"event":"chat","to":[{}]}"#, "to lists what is no peer id: {}, at index 0"),
            invalid(r#"{"event":"chat","to":[1,2,3,4,5]}"#, "to lists too many peers"),
            invalid(r#"{"event":"chat","to":["ME","ME"]}"#, "to lists a peer twice"),
            // Members that are given twice, also where the text goes on badly.
            invalid(r#"{"event":"chat","event":"chat","to":"all"}"#, TWICE),
            invalid(r#"{"event":null,"\u0065vent":"chat","to":"all"}"#, TWICE),
            invalid(r#"{"event":"chat","data":1,"data":2,"to":"all"}"#, TWICE),
            invalid(r#"{"event":"chat","to":"all","to":"all"}"#, TWICE),
            invalid(r#"{"event":"chat","event":"chat" x"#, TWICE),
            invalid(r#"{"event":"chat","event""#, TWICE),
            invalid(r#"{"event":"chat","even"#, NOT_JSON),
            // Names that are the server's.
            invalid(r#"{"event":"joined","to":"all"}"#, RESERVED),
            invalid(r#"{"event":"\u006aoined"}"#, RESERVED),
            invalid(r#"{"event":"media:none","to":"all"}"#, RESERVED),
            invalid(r#"{"event":"media:mute_all"}"#, RESERVED),
        ],
    )
    .await;
}

#[actix::test]
async fn an_event_for_the_peer_connection_is_one_unless_it_is_addressed_to_others() {
    let server = full_server().await;
    let refused = |event: &str, error: &str, detail: &str| {
        let details = json!({ "event": event, "error": error, "detail": detail });
        vec![format!("WebRTC failed: {details}")]
    };
    let no_offer = |kind: &str| {
        let detail = format!("data must be an object with type and sdp, not {kind}");
        refused("webrtc:offer", "bad_description", &detail)
    };
    let no_session = r#"WebRTC failed: {"error":"no_webrtc_session","event":"webrtc:ice"}"#;
    let echo =
        r#"{"event":"webrtc:data","data":{"channel":"c","data":"hi"},"from":null,"to":["ME"]}"#;

    assert_outcomes(
        &server,
        &[
            row(r#"{"event":"webrtc:close"}"#, &[]),
            row(r#"{"\u0065vent":"webrtc:close","to":null}"#, &[]),
            row(r#"{"event":"webrtc:close","x":1,"x":2,"type":7,"type":8}"#, &[]),
            row(format!(r#"{{"event":"webrtc:close","data":{}}}"#, nested(900)), &[]),
            row(format!(r#"{{"event":"webrtc:close",{CALL}}}"#), &[]),
            row(r#"{"event":"webrtc:ice"}"#, &[no_session]),
            row(r#"{"event":"webrtc:ice","data":null}"#, &[no_session]),
            row(r#"{"event":"webrtc:send","data":{"channel":"c","data":"hi"}}"#, &[echo]),
            (r#"{"event":"webrtc:offer"}"#.to_owned(), no_offer("null")),
            (r#"{"event":"webrtc:offer","data":"v=0"}"#.to_owned(), no_offer("a string")),
            (
                r#"{"event":"webrtc:send","data":{"channel":1e400}}"#.to_owned(),
                refused("webrtc:send", "bad_data", "channel must be a string, not a number"),
            ),
            invalid(r#"{"event":"webrtc:close","to":"all"}"#, RESERVED),
            invalid(r#"{"event":"webrtc:close","to":[]}"#, RESERVED),
            invalid(r#"{"event":"webrtc:state"}"#, RESERVED),
            invalid(r#"{"event":"webrtc:nothing","to":"all"}"#, RESERVED),
            // These names are read as they are written.
            invalid(r#"{"event":"webrtc:cl\u006fse"}"#, RESERVED),
            invalid(r#"{"event":"webrtc:close","event":"webrtc:close"}"#, TWICE),
            invalid(r#"{"event":"webrtc:close","data":1,"data":2}"#, TWICE),
            invalid(r#"{"event":"webrtc:close","to":null,"to":null}"#, TWICE),
            invalid(r#"{"event":"webrtc:close""#, NOT_JSON),
            invalid(r#"["webrtc:close",null,null]"#, NOT_AN_OBJECT),
        ],
    )
    .await;
}

#[actix::test]
async fn a_text_that_is_no_message_is_a_frame_of_rpc_if_its_type_is_one() {
    let server = full_server().await;
    let call = |more: &str| format!(r#"{{"type":"call_hook","plugin":"test",{more}}}"#);
    let cut = r#"{"type":"call_hook","plugin":"#;
    let deep = format!(
        r#"{{"type":"call_hook","id":1,"plugin":"test","fn":"add","args":{}}}"#,
        nested(900)
    );

    assert_outcomes(
        &server,
        &[
            row(format!("{{{CALL}}}"), CALLED),
            row(format!(" {{ {CALL} }} "), CALLED),
            row(format!(r#"{{"event":"joined","to":"all",{CALL}}}"#), CALLED),
            row(format!(r#"{{"event":"webrtc:close","to":"all",{CALL}}}"#), CALLED),
            row(format!(r#"{{"event":"chat","to":"nobody",{CALL}}}"#), CALLED),
            row(format!(r#"{{"event":"chat","event":7,"to":1,"to":2,{CALL}}}"#), CALLED),
            row(format!(r#"{{{CALL},"x":{}}}"#, nested(900)), CALLED),
            row(format!(r#"{{"error":7,{CALL}}}"#), CALLED),
            row(
                r#"{"\u0074ype":"call_hook","id":1,"plugin":"t\u0065st","fn":"add","args":[2,3]}"#,
                CALLED,
            ),
            row(
                r#"{"type":"c\u0061ll_hook","id":1,"plugin":"test","fn":"add","args":[2,3]}"#,
                CALLED,
            ),
            row(
                r#"{"type":"call_h\u006fok","id":1,"plugin":"test","fn":"add","args":[2,3]}"#,
                CALLED,
            ),
            row(call(r#""fn":"add","args":[2,3]"#), &["hook_reply 5"]),
            row(call(r#""fn":"add","id":null,"args":[2,3]"#), &["hook_reply 5"]),
            row(call(r#""fn":"add","id":"\u0041","args":[2,3]"#), &[r#"hook_reply "A" 5"#]),
            row(call(r#""fn":"sub","id":2"#), &[r#"hook_error 2 "unknown_function""#]),
            row(
                call(r#""fn":"add","id":2,"args":{}"#),
                &[r#"hook_error 2 "invalid_args" "args must be a list""#],
            ),
            row(
                call(r#""fn":"add","id":2,"args":[1e400,1]"#),
                &[r#"hook_error 2 "invalid_args" 0 "not a number that can be represented""#],
            ),
            row(deep, &[r#"hook_error 1 "invalid_args" 0 "nested too deeply to be read""#]),
            row(r#"{"type":"cancel_hook","id":99}"#, &[]),
            row(r#"{"type":"hook_reply","id":"s99","data":1}"#, &[]),
            row(r#"{"type":"hook_error","id":"s99","error":7}"#, &[]),
            // Frames that lack something.
            row(r#"{"type":"call_hook"}"#, MALFORMED),
            row(call(r#""id":1"#), MALFORMED),
            row(call(r#""fn":1"#), MALFORMED),
            row(call(r#""fn":"add","id":{}"#), MALFORMED),
            row(call(r#""fn":"add","id":true"#), MALFORMED),
            row(call(&format!(r#""fn":"add","id":{}"#, "1".repeat(65))), MALFORMED),
            row(r#"{"type":"cancel_hook"}"#, MALFORMED),
            row(r#"{"type":"hook_reply","data":1}"#, MALFORMED),
            // Members that are given twice.
            row(format!(r#"{{{CALL},"type":"call_hook"}}"#), MALFORMED),
            row(format!(r#"{{"id":null,{CALL}}}"#), MALFORMED),
            row(r#"{"type":"hook_reply","id":"s99","data":1,"data":2}"#, MALFORMED),
            row(r#"{"type":"chat","id":1,"id":2,"x":"call_hook"}"#, MALFORMED),
            invalid(r#"{"type":"chat","id":1,"id":2}"#, EVENT),
            // Texts that were meant as one.
            row(cut, MALFORMED),
            row(format!("{{{CALL}}} x"), MALFORMED),
            row(r#"[{"type":"call_hook""#, MALFORMED),
            row(format!(r#"{{"event":"webrtc:close",{CALL}"#), MALFORMED),
            invalid(r#"[{"type":"call_hook"}]"#, NOT_AN_OBJECT),
            invalid(r#"{"kind":"call_hook""#, NOT_JSON),
            invalid(r#"{"type":"call_nothing""#, NOT_JSON),
        ],
    )
    .await;
}

#[actix::test]
async fn a_large_text_has_the_limit_of_what_it_is_for() {
    let server = full_server().await;
    let (large, huge) = ("x".repeat(LIMITS.0 + 1), "x".repeat(LIMITS.1));
    let end = |limit: usize| {
        vec![format!(r#"Message too large: {{"max_bytes":{limit}}}"#), "closed 1009".to_owned()]
    };
    let too_large = |text: String| (text, end(LIMITS.0));
    let refused = r#"hook_error 1 "too_large""#;

    assert_outcomes(
        &server,
        &[
            too_large(format!(r#"{{"event":"chat","data":"{large}","to":"all"}}"#)),
            too_large(large.clone()),
            too_large(nested(LIMITS.0)),
            too_large(format!(
                r#"{{"event":"chat","data":"\"webrtc:\" \"call_hook\" {large}","to":"all"}}"#
            )),
            too_large(format!(r#"{{"event":"webrtc:close","data":"{large}","to":"all"}}"#)),
            too_large(format!(r#"{{"event":"webrtc:close","data":1,"data":"{large}"}}"#)),
            too_large(format!(r#"{{"event":"webrtc:close","data":"{large}""#)),
            row(format!(r#"{{"event":"webrtc:close","data":"{large}"}}"#), &[]),
            row(format!(r#"{{"event":"webrtc:close","x":{},{CALL}}}"#, nested(LIMITS.0)), &[]),
            // Calls keep the connection; all others that are large end it.
            row(format!(r#"{{{CALL},"x":"{large}"}}"#), &[refused]),
            row(format!(r#"{{{CALL},"x":{}}}"#, nested(LIMITS.0)), &[refused]),
            row(format!(r#"{{"event":"chat","to":"all",{CALL},"data":"{large}"}}"#), &[refused]),
            row(
                format!(r#"{{"type":"cancel_hook","id":1,"x":"{large}"}}"#),
                &[r#"hook_error "too_large""#],
            ),
            row(format!(r#"{{"type":"hook_reply","id":"s99","data":"{large}"}}"#), &[]),
            too_large(format!(r#"{{"type":"call_hook","x":"{large}"}}"#)),
            too_large(format!(r#"{{{CALL},"x":"{large}""#)),
            too_large(format!(r#"{{{CALL},"id":2,"x":"{large}"}}"#)),
            too_large(format!(r#"{{"type":"chat","x":"{large}","y":"call_hook"}}"#)),
            (format!(r#"{{{CALL},"x":"{huge}"}}"#), end(LIMITS.1)),
            (format!(r#"{{"event":"webrtc:close","data":"{huge}"}}"#), end(LIMITS.1)),
        ],
    )
    .await;
}

#[actix::test]
async fn a_server_without_hooks_and_peer_connections_says_so() {
    let server = Server::start(|options| options.max_message(LIMITS.0)).await;
    let large = "x".repeat(LIMITS.0 + 1);
    let end: &[&str] = &[r#"Message too large: {"max_bytes":2000}"#, "closed 1009"];
    let offer = r#"{"event":"webrtc:offer","data":{"type":"offer","sdp":"v=0"}}"#;

    assert_outcomes(
        &server,
        &[
            row(offer, &[r#"WebRTC failed: {"error":"webrtc_disabled","event":"webrtc:offer"}"#]),
            row(format!("{{{CALL}}}"), &[r#"hook_error 1 "unknown_plugin""#]),
            row(r#"{"type":"call_hook"}"#, MALFORMED),
            forwarded(r#"{"event":"chat","to":"all"}"#, PLAIN),
            row(format!(r#"{{{CALL},"x":"{large}"}}"#), end),
            row(format!(r#"{{"event":"webrtc:close","data":"{large}"}}"#), end),
        ],
    )
    .await;
}

const TO: &str = "to must be \"all\" or a list of peer ids";
