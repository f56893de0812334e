//! Credit of those who send messages to a room: a bound on its mailbox.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Credit for one message that a room has not handled.
pub(crate) struct Credit<T: Counted>(T);

/// Sender of messages to a room, with their number.
pub(crate) trait Counted {
    fn in_flight(&self) -> &AtomicUsize;
}

impl<T: Counted> Credit<T> {
    pub(crate) fn new(sender: T) -> Option<Self> {
        let credit = Self(sender);
        let waiting = credit.0.in_flight().fetch_add(1, Ordering::Relaxed);
        (waiting < MAX_IN_FLIGHT).then_some(credit)
    }
}

impl<T: Counted> Drop for Credit<T> {
    fn drop(&mut self) {
        // Those who see it see what came of the message.
        self.0.in_flight().fetch_sub(1, Ordering::Release);
    }
}

/// Number of messages of one peer, or of the application, that may wait for a room: at least as many as a client may
/// send at once by default, and a bound on the room's mailbox.
const MAX_IN_FLIGHT: usize = 1_024;
