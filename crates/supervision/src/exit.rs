//! Exit reasons of actors.

use std::any::Any;
use std::fmt;

/// Reason why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// The actor stopped itself: its work is done.
    Normal,
    /// The actor was asked to stop, or stopped itself for this reason. No failure.
    Shutdown(Option<String>),
    /// The actor stopped itself because of an error.
    Error(String),
    /// The actor panicked, with this message.
    Panic(String),
    /// The actor was dropped before it had stopped: `brutal_kill`, a shutdown that took too long, or the end of its
    /// arbiter.
    Killed,
    /// The supervisor stopped its children and gave up, because a child had to be restarted more often than the
    /// [intensity](crate::Flags::intensity) allows. Towards its own supervisor this counts as a shutdown, as in OTP: a
    /// [transient](crate::Restart::Transient) one is not restarted.
    ReachedMaxRestartIntensity,
    /// There was no such actor at the time of the request (OTP: `noproc`).
    NoProcess,
}

impl ExitReason {
    /// Plain `shutdown` with which a supervisor stops its children.
    pub const SHUTDOWN: Self = Self::Shutdown(None);

    /// Returns whether this is a failure, after which a [transient](crate::Restart::Transient) child is restarted.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown(_) | Self::ReachedMaxRestartIntensity)
    }

    /// Creates the reason from a panic's payload.
    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        Self::Panic(panic_text(payload))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown(None) => f.write_str("shutdown"),
            Self::Shutdown(Some(why)) => write!(f, "shutdown({why})"),
            Self::Error(why) => write!(f, "error({why})"),
            Self::Panic(message) => write!(f, "panic({message})"),
            Self::Killed => f.write_str("killed"),
            Self::ReachedMaxRestartIntensity => f.write_str("reached_max_restart_intensity"),
            Self::NoProcess => f.write_str("noproc"),
        }
    }
}

/// Returns the text of a panic's payload.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    }
}
