//! Counters of the WebSockets of one route.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the WebSockets of one route.
#[derive(Debug, Default)]
pub struct SocketCounters([AtomicU64; COUNTS]);

/// Kinds of counted events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketCount {
    /// WebSockets opened.
    Opened,
    /// WebSockets ended.
    Ended,
    /// Text messages received.
    Received,
    /// Text messages sent.
    Sent,
    /// Connections closed because their client did not read.
    TooSlow,
    /// Connections that had to be cut because their client did not take the close frame.
    Cut,
    /// WebSockets lost whose links wait for their client to come back.
    Lost,
    /// Clients that came back.
    Resumed,
}

const ALL: [(SocketCount, &str); COUNTS] = [
    (SocketCount::Opened, "opened"),
    (SocketCount::Ended, "ended"),
    (SocketCount::Received, "received"),
    (SocketCount::Sent, "sent"),
    (SocketCount::TooSlow, "too_slow"),
    (SocketCount::Cut, "cut"),
    (SocketCount::Lost, "lost"),
    (SocketCount::Resumed, "resumed"),
];
const COUNTS: usize = SocketCount::Resumed as usize + 1;

impl SocketCounters {
    pub(crate) fn add(&self, count: SocketCount) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all counts with their names.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ALL.iter().map(|&(count, name)| (name, self.get(count)))
    }

    /// Returns how often this has happened.
    pub fn get(&self, count: SocketCount) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }
}
