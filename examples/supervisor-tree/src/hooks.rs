//! RPC functions behind the page's buttons.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use callboard_signaling::Guesses;
use callboard_signaling::Rejection;
use callboard_signaling::rpc::{HookContext, HookNameError, Hooks};
use serde_json::Value;

use crate::hold::Hold;
use crate::operator::Operator;

/// Returns all of them, in the plugin `demo`.
pub(crate) fn hooks(hold: Hold, operator: Operator) -> Result<Hooks, HookNameError> {
    let guesses = Guesses::new(GUESSES, GUESS_EVERY);
    let hold = move |token: Option<String>, _: HookContext| {
        let allowed = guesses.check(ANYONE).is_ok() && operator.is(token.as_deref());
        if allowed {
            hold.next();
        } else if token.is_some() {
            guesses.wrong(ANYONE);
        }
        std::future::ready(if allowed { Ok(()) } else { Err(Rejection::new("not for you")) })
    };
    Hooks::builder()
        .plugin("demo", |demo| {
            let demo = demo.hook("hold_handshake", hold);
            demo.hook("echo", async |words: Vec<Value>, _: HookContext| Ok::<_, Rejection>(words))
                .hook("add", add)
                .hook("slow", slow)
                .hook("panic", panic)
                .hook("call_me", call_me)
                .hook("who", who)
        })
        .build()
}

async fn add((one, other): (f64, f64), _: HookContext) -> Result<f64, Rejection> {
    let sum = one + other;
    if sum.is_finite() { Ok(sum) } else { Err(Rejection::new("that is too much")) }
}

/// Answers after this many milliseconds.
async fn slow(milliseconds: u64, _: HookContext) -> Result<u64, Rejection> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(milliseconds)
}

/// Panics: its caller gets `internal`, and no other client notices.
async fn panic((): (), context: HookContext) -> Result<(), Rejection> {
    panic!("{} asked for it", context.peer_id)
}

/// Calls the caller back, and returns its answer.
async fn call_me((): (), context: HookContext) -> Result<Value, Rejection> {
    let answer = context.client.call("describe", &(), CLIENT_TIME).await;
    answer.map_err(|error| Rejection::new(error.to_string()))
}

/// Returns the ids of the room's peers.
async fn who((): (), context: HookContext) -> Result<Vec<String>, Rejection> {
    Ok(context.room.peers().iter().map(ToString::to_string).collect())
}

/// Address for which wrong tokens are counted: all clients share one limit.
const ANYONE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Most wrong tokens in a burst.
const GUESSES: u32 = 10;
const GUESS_EVERY: Duration = Duration::from_secs(3);
/// Longest time for a client's answer.
const CLIENT_TIME: Duration = Duration::from_secs(5);
