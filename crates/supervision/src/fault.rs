//! Fault injection.

use crate::exit::ExitReason;

/// Fault to inject into a running actor, for tests and for operators who want to see how the tree recovers.
///
/// See [`SupervisorRef::inject`](crate::SupervisorRef::inject).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The actor panics with this message, as if a handler had panicked.
    Panic(String),
    /// The actor is dropped at once, with no callback.
    Kill,
    /// The actor is asked to stop, and ends with this reason.
    Exit(ExitReason),
}
