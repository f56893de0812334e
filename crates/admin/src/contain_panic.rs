//! Calls of an application's closures, whose panics stay their own.

use callboard_supervision::catch_panic;

/// Returns the result of an application's closure, unless it panics.
pub(crate) fn contain_panic<R>(what: &str, call: impl FnOnce() -> R) -> Option<R> {
    catch_panic(what, call)
        .inspect_err(|_| log::error!("a closure given to `{what}` panicked"))
        .ok()
}
