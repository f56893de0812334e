//! Panics in an application's code outside its actors: caught, and told under a name.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::exit::panic_text;
use crate::panic_hook;

/// Returns what `call` returns, or the message with which it panics. The hook of
/// [`install_panic_hook`](crate::install_panic_hook) tells of it like of an actor's panic, under `name`; within an actor,
/// under that one's path. What `call` was changing may be half changed.
pub fn catch_panic<R>(name: &str, call: impl FnOnce() -> R) -> Result<R, String> {
    catch(&Rc::from(name), call)
}

/// The same for a future, until it is ready.
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
    let _named = Named(NAME.replace(Some(Rc::clone(name))));
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        // During another one's unwinding, that one is still to be caught.
        if !std::thread::panicking() {
            panic_hook::caught();
        }
        panic_text(&*panic)
    })
}

/// The name of what is called on this thread, if it has one.
pub(crate) fn name() -> Option<Rc<str>> {
    NAME.try_with(|name| name.borrow().clone()).ok().flatten()
}

/// Gives the name before back to the thread when it is dropped.
struct Named(Option<Rc<str>>);

impl Drop for Named {
    fn drop(&mut self) {
        NAME.set(self.0.take());
    }
}

thread_local! {
    static NAME: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}
