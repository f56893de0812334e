//! Calls in both directions.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_client::{CallFunctionError, Client, ClientEvent, ClientState, Recipients};
use common::{Cable, GATE, STARTED, Server, eventually, hooks, join, message, next, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

async fn server() -> Server {
    let grace = Duration::from_secs(600);
    Server::start(|options| options.resume_grace(grace).hooks(hooks())).await
}

fn hook(error: &str) -> CallFunctionError {
    let (argument, detail, details) = (None, None, Value::Null);
    CallFunctionError::Hook { error: error.to_owned(), argument, detail, details }
}

#[actix_web::test]
async fn the_servers_functions_can_be_called() {
    let server = server().await;
    let client = server.join().await;

    assert_eq!(within(client.call("test", "add", (1, 2))).await, Ok(json!(3)));
    assert_eq!(within(client.call("test", "add", [3, 4])).await, Ok(json!(7)));
    assert_eq!(within(client.call("test", "none", ())).await, Ok(json!("none")));
    let refused = within(client.call("test", "refuse", ["no"])).await;
    assert_eq!(refused, Err(hook("no")));
    let unknown = within(client.call("test", "unknown", ())).await;
    assert_eq!(unknown, Err(hook("unknown_function")));
    match within(client.call("test", "add", (1, "x"))).await {
        Err(CallFunctionError::Hook { error, argument: Some(1), detail: Some(detail), .. }) => {
            assert_eq!(error, "invalid_args");
            assert!(detail.contains("i64"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let no_list = within(client.call("test", "add", "x")).await;
    assert!(matches!(no_list, Err(CallFunctionError::Arguments(_))), "{no_list:?}");
    let never = client.call_within(Duration::from_millis(50), "test", "never", ());
    assert_eq!(within(never).await, Err(CallFunctionError::Timeout));
}

#[actix_web::test]
async fn calls_that_are_no_longer_awaited_are_cancelled() {
    let server = server().await;
    let client = server.join().await;

    // No more than 16 of one client run at the server.
    for _ in 0..40 {
        let never = client.call_within(Duration::from_millis(5), "test", "never", ());
        assert_eq!(within(never).await, Err(CallFunctionError::Timeout));
    }
    assert_eq!(within(client.call("test", "add", (1, 2))).await, Ok(json!(3)));
}

/// Calls a function that waits at the server.
async fn call_to_the_gate(client: &Client) -> JoinHandle<Result<Value, CallFunctionError>> {
    let (client, before) = (client.handle(), STARTED.load(Ordering::SeqCst));
    let call = tokio::spawn(async move { client.call("test", "gate", ()).await });
    eventually("called", || STARTED.load(Ordering::SeqCst) > before).await;
    call
}

#[actix_web::test]
async fn a_call_outlives_its_connection_if_the_session_does() {
    let server = server().await;
    let cable = Cable::to(server.address).await;
    let mut client = join(cable.address).await;

    let call = call_to_the_gate(&client).await;
    cable.cut();
    assert_eq!(next(&mut client).await, ClientEvent::Resumed);
    GATE.add_permits(1);
    assert_eq!(within(call).await.unwrap(), Ok(json!("through")));

    cable.unplug();
    eventually("noticed", || client.state() != ClientState::Open).await;
    let at_once = within(client.call("test", "add", (1, 2))).await;
    assert_eq!(at_once, Err(CallFunctionError::Disconnected));

    let server = Server::start(|options| options.hooks(hooks())).await;
    let cable = Cable::to(server.address).await;
    let client = join(cable.address).await;
    let call = call_to_the_gate(&client).await;
    cable.cut();
    assert_eq!(within(call).await.unwrap(), Err(CallFunctionError::Disconnected));

    eventually("back", || client.state() == ClientState::Open).await;
    let call = call_to_the_gate(&client).await;
    client.close().await;
    assert_eq!(within(call).await.unwrap(), Err(CallFunctionError::Closed));
}

async fn called(client: &mut Client, name: &str) -> Value {
    client.send(Recipients::All, "call_me", name).unwrap();
    let message = message(client).await;
    assert_eq!(message.event, "called");
    message.data
}

#[actix_web::test]
async fn the_server_can_call_the_clients_functions() {
    let server = server().await;
    let mut client = server.join().await;
    client.register("add", async |args: Vec<Value>| {
        let sum: i64 = args.iter().filter_map(Value::as_i64).sum();
        Ok::<_, String>(sum)
    });
    client.register("refuse", async |_| Err::<(), _>("not today"));
    client.register("panic", async |_| -> Result<(), String> { panic!("in a function") });
    client.register("large", async |_| Ok::<_, String>("x".repeat(70_000)));

    assert_eq!(called(&mut client, "add").await, json!({ "ok": 3 }));
    assert_eq!(called(&mut client, "refuse").await, json!({ "error": "not today" }));
    assert_eq!(called(&mut client, "panic").await, json!({ "error": "internal" }));
    assert_eq!(called(&mut client, "large").await, json!({ "error": "too_large" }));
    assert_eq!(called(&mut client, "unknown").await, json!({ "error": "unknown_function" }));
    client.unregister("add");
    assert_eq!(called(&mut client, "add").await, json!({ "error": "unknown_function" }));
}
