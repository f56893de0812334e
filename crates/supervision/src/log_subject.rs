//! Actor that a log line is about, for loggers that write it as a field.

use std::cell::RefCell;

use crate::path::ActorPath;

/// Actor that a log line is about; see [`log_subject`](crate::log_subject).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSubject {
    /// Path of the actor in its tree.
    pub path: ActorPath,
    /// Rust type of the actor.
    pub type_name: &'static str,
}

/// Runs `work`, whose log lines are about no actor, whichever runs on this thread.
pub fn without_log_subject<T>(work: impl FnOnce() -> T) -> T {
    under(None, work)
}

/// Runs `work`, whose log lines are about this actor; about none if there is none.
pub(crate) fn under<T>(subject: Option<LogSubject>, work: impl FnOnce() -> T) -> T {
    // Where a thread ends, nothing can be set any more.
    let before = SUBJECT.try_with(|set| set.replace(Some(subject))).ok().flatten();
    let _restored = Restored(before);
    work()
}

/// Returns what was set on this thread: an actor, or that there is none. Nothing was set: the actor whose code runs.
pub(crate) fn set() -> Option<Option<LogSubject>> {
    SUBJECT.try_with(|subject| subject.try_borrow().ok()?.clone()).ok().flatten()
}

/// What was set before; it is set again when this is dropped.
struct Restored(Option<Option<LogSubject>>);

impl Drop for Restored {
    fn drop(&mut self) {
        _ = SUBJECT.try_with(|set| *set.borrow_mut() = self.0.take());
    }
}

thread_local! {
    /// None: the actor whose code runs.
    static SUBJECT: RefCell<Option<Option<LogSubject>>> = const { RefCell::new(None) };
}
