//! Catching panics in application code outside actors, and reporting them under a name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::exit::panic_text;
use crate::{current_actor, panic_hook};

/// Calls `call` and returns its result, or the message of its panic. The hook of
/// [`install_panic_hook`](crate::install_panic_hook) reports the panic like an actor's, under `name`; within an actor,
/// under that actor's path. State that `call` was changing may be half changed.
pub fn catch_panic<R>(name: &str, call: impl FnOnce() -> R) -> Result<R, String> {
    // An actor has its path, and needs no allocation for a name.
    let _named = (!current_actor::is_any()).then(|| current_actor::name(&Rc::from(name)));
    caught(call)
}

/// Polls `future` until it is ready, and catches its panics as [`catch_panic`] does.
pub async fn catch_panics<F: Future>(name: String, future: F) -> Result<F::Output, String> {
    let (name, mut future) = (Rc::from(name), pin!(future));
    std::future::poll_fn(|cx| match catch(&name, || future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

fn catch<R>(name: &Rc<str>, call: impl FnOnce() -> R) -> Result<R, String> {
    let _named = current_actor::name(name);
    caught(call)
}

fn caught<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        // While another panic unwinds, that one is still to be caught.
        if !std::thread::panicking() {
            panic_hook::caught();
        }
        panic_text(&*panic)
    })
}
