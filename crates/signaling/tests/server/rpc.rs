//! Calls of the server's functions by clients, and of clients' functions by the server.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard_peer_connection::messages::{GetDataChannels, InjectLoss};
use callboard_peer_connection::{DataChannelId, DataChannelInfo};
use callboard_signaling::Rejection;
use callboard_signaling::rpc::{HookContext, HookLimits, Hooks};
use callboard_signaling::{CallClientError, PeerRef};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::common::rtc::{RtcClient, webrtc};
use crate::common::{Server, eventually};

/// Counter of hooks that were dropped before they completed.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Stage {
    gate: Arc<Semaphore>,
    dropped: Arc<AtomicUsize>,
    clients: mpsc::UnboundedSender<PeerRef>,
}

fn hooks(limits: HookLimits) -> (Hooks, Stage, mpsc::UnboundedReceiver<PeerRef>) {
    let (clients, met) = mpsc::unbounded_channel();
    let stage = Stage { gate: Arc::new(Semaphore::new(0)), dropped: Arc::default(), clients };
    let (waits, meets) = (stage.clone(), stage.clone());
    let hooks = Hooks::builder().limits(limits).plugin("test", |test| {
        test.hook("add", async |(a, b): (i64, i64), _: HookContext| Ok::<_, Rejection>(a + b))
            .hook("whoami", async |(): (), context: HookContext| {
                Ok::<_, Rejection>(json!([context.peer_id, context.room.name()]))
            })
            .hook("refuse", async |why: String, _: HookContext| Err::<(), _>(Rejection::new(why)))
            .hook("panic", async |(): (), _: HookContext| -> Result<(), Rejection> {
                panic!("in a hook")
            })
            .hook("large", async |size: usize, _: HookContext| Ok::<_, Rejection>("x".repeat(size)))
            .hook("slow", move |(): (), _: HookContext| {
                let Stage { gate, dropped, .. } = waits.clone();
                let guard = Guard(dropped);
                async move {
                    gate.acquire().await.expect("it is never closed").forget();
                    std::mem::forget(guard);
                    Ok::<_, Rejection>("at last")
                }
            })
            .hook_within("brief", Duration::from_millis(50), async |(): (), _: HookContext| {
                std::future::pending::<Result<(), Rejection>>().await
            })
            .hook_within("block", Duration::from_millis(50), async |(): (), _: HookContext| {
                #[expect(clippy::disallowed_methods, reason = "it is what a hook must not do")]
                std::thread::sleep(Duration::from_millis(500));
                Ok::<_, Rejection>(())
            })
            .hook("meet", move |(): (), context: HookContext| {
                let sent = meets.clients.send(context.client).is_ok();
                async move { Ok::<_, Rejection>(sent) }
            })
    });
    (hooks.build().unwrap(), stage, met)
}

async fn server(limits: HookLimits) -> (Server, Stage, mpsc::UnboundedReceiver<PeerRef>) {
    let (hooks, stage, met) = hooks(limits);
    let webrtc = webrtc().await;
    (Server::start(move |options| options.webrtc(webrtc).hooks(hooks)).await, stage, met)
}

/// The ways that a call can take.
#[derive(Clone, Copy)]
enum By {
    WebSocket,
    Channel(DataChannelId),
}

async fn say(client: &mut RtcClient, by: By, text: &str) {
    match by {
        By::WebSocket => client.ws.text(text).await,
        By::Channel(channel) => client.say(channel, text).await,
    }
}

fn answers(client: &RtcClient, by: By) -> Vec<Value> {
    match by {
        By::WebSocket => {
            client.heard.iter().filter(|heard| heard["type"].is_string()).cloned().collect()
        }
        By::Channel(channel) => {
            client.texts(channel).map(|text| serde_json::from_str(text).expect("JSON")).collect()
        }
    }
}

async fn call(client: &mut RtcClient, by: By, text: &str) -> Value {
    let before = answers(client, by).len();
    say(client, by, text).await;
    client.until("answer", |client| answers(client, by).len() > before).await;
    answers(client, by).pop().unwrap()
}

fn hook(id: Value, function: &str, args: Value) -> String {
    json!({ "type": "call_hook", "id": id, "plugin": "test", "fn": function, "args": args })
        .to_string()
}

#[actix::test]
async fn hooks_are_called_over_both_ways_and_every_error_has_its_name() {
    let (server, ..) = server(HookLimits { reply: 1_000, ..HookLimits::default() }).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;

    for by in [By::WebSocket, By::Channel(events)] {
        let reply = call(&mut client, by, &hook(json!(7), "add", json!([2, 3]))).await;
        assert_eq!(
            reply,
            json!({ "type": "hook_reply", "id": 7, "plugin": "test", "fn": "add", "data": 5 })
        );
        let without_id = r#"{"type":"call_hook","plugin":"test","fn":"whoami"}"#;
        let reply = call(&mut client, by, without_id).await;
        assert_eq!(
            reply,
            json!({ "type": "hook_reply", "plugin": "test", "fn": "whoami", "data": [client.ws.id, "demo"] })
        );
        for (function, args, error) in [
            ("missing", json!([]), "unknown_function"),
            ("_hidden", json!([]), "reserved"),
            ("after_join", json!([]), "reserved"),
            ("add", json!([1]), "invalid_args"),
            ("add", json!({ "a": 1 }), "invalid_args"),
            ("add", json!(["1", "2"]), "invalid_args"),
            ("add", json!(vec![1; 33]), "invalid_args"),
            ("refuse", json!(["not today"]), "not today"),
            ("panic", json!([]), "internal"),
            ("large", json!([1_001]), "too_large"),
            ("brief", json!([]), "timeout"),
            ("block", json!([]), "timeout"),
        ] {
            let reply = call(&mut client, by, &hook(json!("a"), function, args)).await;
            let mut expected = json!({ "type": "hook_error", "id": "a", "plugin": "test", "fn": function, "error": error });
            if error == "invalid_args" {
                assert!(reply["detail"].is_string(), "{reply}");
                for member in ["detail", "argument"].into_iter().filter(|&it| !reply[it].is_null())
                {
                    expected[member] = reply[member].clone();
                }
            }
            assert_eq!(reply, expected);
        }
        let unknown = r#"{"type":"call_hook","plugin":"other","fn":"add"}"#;
        assert_eq!(call(&mut client, by, unknown).await["error"], "unknown_plugin");
        assert_eq!(call(&mut client, by, r#"{"type":"call_hook"}"#).await["error"], "malformed");
    }
    // This channel carries only JSON.
    let by = By::Channel(events);
    assert_eq!(call(&mut client, by, "hello").await["error"], "malformed");
    let large = hook(json!(7), "add", json!(["x".repeat(64 * 1024)]));
    assert_eq!(call(&mut client, by, &large).await["error"], "too_large");
    // JSON about something else is passed to the application.
    assert_eq!(call(&mut client, by, r#"{"type":"hello"}"#).await, json!({ "type": "hello" }));
}

#[actix::test]
async fn a_thousand_calls_run_at_once_and_are_answered_out_of_order() {
    let limits = HookLimits { concurrency: 1_001, ..HookLimits::default() };
    let (hooks, stage, _met) = hooks(limits);
    let rate = callboard_signaling::Rate::UNLIMITED;
    let server = Server::start(move |options| options.hooks(hooks).rate(rate)).await;
    let mut client = RtcClient::join(&server).await;
    let by = By::WebSocket;

    for id in 0..1_000 {
        say(&mut client, by, &hook(json!(id), "slow", json!([]))).await;
    }
    // Later calls are served while the others wait.
    let reply = call(&mut client, by, &hook(json!("late"), "add", json!([1, 1]))).await;
    assert_eq!((&reply["id"], &reply["data"]), (&json!("late"), &json!(2)));
    stage.gate.add_permits(1_000);
    client.until("all answers", |client| answers(client, by).len() == 1_001).await;
    let mut ids: Vec<u64> =
        answers(&client, by).iter().filter_map(|answer| answer["id"].as_u64()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..1_000));
}

#[actix::test]
async fn one_call_too_many_is_overloaded_and_slow_ones_delay_nothing() {
    let (server, stage, _met) =
        server(HookLimits { concurrency: 2, ..HookLimits::default() }).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;
    let by = By::Channel(events);

    for id in 0..2 {
        say(&mut client, by, &hook(json!(id), "slow", json!([]))).await;
    }
    let third = call(&mut client, by, &hook(json!(2), "slow", json!([]))).await;
    assert_eq!((&third["id"], &third["error"]), (&json!(2), &json!("overloaded")));
    // Data and offers still work.
    let chat = client.channel("chat").await;
    client.opened(chat).await;
    client.say(chat, "hello").await;
    client.until("echo", |client| client.texts(chat).any(|text| text == "hello")).await;
    client.offer().await;
    client.until("second answer", |client| client.events("webrtc:answer").count() == 2).await;

    stage.gate.add_permits(2);
    client.until("the slow ones", |client| answers(client, by).len() == 3).await;
    assert_eq!(stage.dropped.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn calls_are_cancelled_by_their_caller_and_with_it() {
    let (server, stage, _met) =
        server(HookLimits { concurrency: 2, ..HookLimits::default() }).await;
    let dropped = |count| {
        let dropped = Arc::clone(&stage.dropped);
        let all = async move {
            while dropped.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        async { tokio::time::timeout(Duration::from_secs(60), all).await.expect("dropped") }
    };
    let mut client = RtcClient::join(&server).await;
    let by = By::WebSocket;

    for id in [json!(1), json!("two")] {
        say(&mut client, by, &hook(id, "slow", json!([]))).await;
    }
    // Both are running: the third is one too many.
    let third = call(&mut client, by, &hook(json!(3), "slow", json!([]))).await;
    assert_eq!(third["error"], "overloaded");
    say(&mut client, by, r#"{"type":"cancel_hook","id":"two"}"#).await;
    dropped(1).await;
    say(&mut client, by, r#"{"type":"cancel_hook","id":"unknown"}"#).await;
    let fourth = call(&mut client, by, &hook(json!(4), "add", json!([1, 1]))).await;
    assert_eq!(fourth["data"], 2, "its place is free");

    drop(client.ws);
    dropped(2).await;
}

#[actix::test]
async fn a_reply_goes_by_the_websocket_when_its_channel_is_gone() {
    let (server, stage, _met) = server(HookLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;

    say(&mut client, By::Channel(events), &hook(json!(1), "slow", json!([]))).await;
    let second =
        call(&mut client, By::Channel(events), &hook(json!(2), "add", json!([1, 1]))).await;
    assert_eq!(second["data"], 2);
    client.ws.send(json!({ "event": "webrtc:close" })).await;
    client.until("closed", |client| client.in_state("closed")).await;
    stage.gate.add_permits(1);
    // The other reply may come a second time.
    let reply =
        json!({ "type": "hook_reply", "id": 1, "plugin": "test", "fn": "slow", "data": "at last" });
    client.until("reply", |client| answers(client, By::WebSocket).contains(&reply)).await;
}

/// From here on no datagram of the client's peer connection arrives, in neither direction. All that the server has sent
/// on its channels has arrived before.
async fn go_dark(client: &RtcClient, server_side: &PeerRef) {
    let connection = server_side.connection().expect("one");
    let arriving = async {
        let waits = |channel: &DataChannelInfo| channel.buffered_amount > 0;
        while connection.send(GetDataChannels).await.expect("it runs").iter().any(waits) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arriving).await.expect("it has arrived");
    client.connection.send(InjectLoss { ratio: 1.0 }).await.expect("it runs").expect("a share");
}

#[actix::test]
async fn a_reply_in_flight_on_a_channel_that_closes_comes_by_the_websocket() {
    let (server, stage, mut met) = server(HookLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;
    let by = By::Channel(events);

    say(&mut client, by, &hook(json!(1), "slow", json!([]))).await;
    call(&mut client, by, &hook(json!(2), "meet", json!([]))).await;
    let them = met.recv().await.unwrap();
    go_dark(&client, &them).await;
    stage.gate.add_permits(1);
    // Its peer has handed the reply to the channel before it handles the close.
    eventually("the reply", || them.running_hooks() == 0).await;
    client.ws.send(json!({ "event": "webrtc:close" })).await;

    client.until("reply", |client| !answers(client, By::WebSocket).is_empty()).await;
    let reply =
        json!({ "type": "hook_reply", "id": 1, "plugin": "test", "fn": "slow", "data": "at last" });
    assert_eq!(answers(&client, By::WebSocket), [reply]);
    assert_eq!(answers(&client, by).len(), 1, "that of the other call");
}

#[actix::test]
async fn a_call_of_the_server_in_flight_on_a_channel_that_closes_is_lost_at_once() {
    let (server, _stage, mut met) = server(HookLimits::default()).await;
    let mut client = RtcClient::join(&server).await;
    let events = client.open("events").await;

    call(&mut client, By::Channel(events), &hook(json!(1), "meet", json!([]))).await;
    let them = met.recv().await.unwrap();
    // Of a call that has arrived the answer comes by the WebSocket.
    let arrived = them.clone();
    let arrived =
        actix::spawn(async move { arrived.call("greet", &(), Duration::from_secs(600)).await });
    client.until("call", |client| client.texts_any("greet")).await;
    let asked = answers(&client, By::Channel(events)).pop().unwrap();
    go_dark(&client, &them).await;
    let mut lost = pin!(them.call("greet", &(), Duration::from_secs(600)));
    assert_eq!(lost.as_mut().now_or_never(), None, "it is sent, and no more");
    client.ws.send(json!({ "event": "webrtc:close" })).await;

    assert_eq!(lost.await, Err(CallClientError::Lost));
    let reply = json!({ "type": "hook_reply", "id": asked["id"], "data": 7 });
    client.ws.send(reply).await;
    assert_eq!(arrived.await.unwrap(), Ok(json!(7)));
}

#[actix::test]
async fn the_server_calls_functions_of_its_clients() {
    let limits = HookLimits { calls_to_client: 1, ..HookLimits::default() };
    let (server, _stage, mut met) = server(limits).await;
    let mut client = RtcClient::join(&server).await;

    for by_channel in [false, true] {
        let by = match by_channel {
            true => By::Channel(client.open("events").await),
            false => By::WebSocket,
        };
        if by_channel {
            client
                .until("its word", |client| client.events("webrtc:channel_open").next().is_some())
                .await;
        }
        call(&mut client, by, &hook(json!(1), "meet", json!([]))).await;
        let them = met.recv().await.unwrap();

        for (outcome, expected) in [
            (json!({ "type": "hook_reply", "data": [1] }), Ok(json!([1]))),
            (json!({ "type": "hook_reply" }), Ok(json!(null))),
            (
                json!({ "type": "hook_error", "error": "no" }),
                Err(CallClientError::Refused("no".to_owned())),
            ),
        ] {
            let seen = answers(&client, by).len();
            let caller = them.clone();
            let calling = actix::spawn(async move {
                caller.call("greet", &("you", 1), Duration::from_secs(10)).await
            });
            client.until("call", |client| answers(client, by).len() > seen).await;
            let asked = answers(&client, by).pop().unwrap();
            assert_eq!((&asked["fn"], &asked["args"]), (&json!("greet"), &json!(["you", 1])));
            assert_eq!(
                them.call("greet", &(), Duration::from_secs(10)).await,
                Err(CallClientError::TooMany)
            );
            let mut outcome = outcome;
            outcome["id"] = asked["id"].clone();
            say(&mut client, by, &outcome.to_string()).await;
            assert_eq!(calling.await.unwrap(), expected);
        }

        let seen = answers(&client, by).len();
        let late = them.call("greet", &(), Duration::from_millis(20)).await;
        assert_eq!(late, Err(CallClientError::TimedOut));
        client.until("word of it", |client| answers(client, by).len() == seen + 2).await;
        assert_eq!(answers(&client, by).last().unwrap()["type"], "cancel_hook");
    }

    call(&mut client, By::WebSocket, &hook(json!(1), "meet", json!([]))).await;
    let them = met.recv().await.unwrap();
    let caller = them.clone();
    let calling =
        actix::spawn(async move { caller.call("greet", &(), Duration::from_secs(60)).await });
    client.until("call", |client| client.texts_any("greet")).await;
    drop(client.ws);
    assert_eq!(calling.await.unwrap(), Err(CallClientError::Gone));
}
