//! Counter of failures that are forgotten after a while.

use std::time::{Duration, Instant};

/// Counter of events that must not happen too often.
pub(crate) struct FailureCounter {
    times: Vec<Instant>,
    most: usize,
    within: Duration,
}

impl FailureCounter {
    pub(crate) fn new(most: usize, within: Duration) -> Self {
        Self { times: Vec::new(), most, within }
    }

    /// Counts an event; returns whether it has happened too often.
    pub(crate) fn add(&mut self, now: Instant) -> bool {
        self.times.retain(|time| now.duration_since(*time) < self.within);
        self.times.push(now);
        self.times.len() > self.most
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.times.clear();
    }
}
