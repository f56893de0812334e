//! Breaking things on purpose.

use crate::exit::ExitReason;

/// A fault to put into a running actor: for tests, and for an operator who wants to see the tree mend itself.
///
/// See [`SupervisorRef::inject`](crate::SupervisorRef::inject).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Panic with this message, as if a handler had.
    Panic(String),
    /// Drop it where it stands, with no callback.
    Kill,
    /// Ask it to stop, to end with this reason.
    Exit(ExitReason),
}
