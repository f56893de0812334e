//! Counts of the events in the trees.

use std::collections::{HashMap, HashSet, VecDeque};

use callboard_supervision::{Event, Lifecycle};
use callboard_websocket::Histogram;
use tokio::time::Instant;

use crate::tree::exit_kind;

/// Counts of the events in the trees.
#[derive(Default)]
pub(crate) struct EventCounts {
    pub(crate) exits: HashMap<&'static str, u64>,
    pub(crate) starts: u64,
    pub(crate) restarts: u64,
    pub(crate) start_failures: u64,
    pub(crate) abandoned: u64,
    pub(crate) blocked: u64,
    pub(crate) handshakes_started: u64,
    pub(crate) handshakes_ended: HashMap<&'static str, u64>,
    /// Durations of handshakes, from start to end.
    pub(crate) handshakes_took: Histogram,
    /// Handshakes under way, with their start.
    handshakes: HashMap<String, Instant>,
    /// Number of events that came too fast to be counted.
    pub(crate) missed: u64,
    failed: Failed,
}

/// Actors that have failed recently, by which a restart is recognised.
#[derive(Default)]
struct Failed {
    paths: HashSet<String>,
    order: VecDeque<String>,
}

impl EventCounts {
    pub(crate) fn count(&mut self, path: &str, Event { what, at, .. }: &Event, is_handshake: bool) {
        if is_handshake {
            self.time(path, what, *at);
        }
        match what {
            Lifecycle::Started => {
                self.starts += 1;
                self.restarts += u64::from(self.failed.paths.remove(path));
                self.handshakes_started += u64::from(is_handshake);
            }
            Lifecycle::Down(reason) => {
                *self.exits.entry(exit_kind(reason)).or_default() += 1;
                if is_handshake {
                    *self.handshakes_ended.entry(exit_kind(reason)).or_default() += 1;
                }
                if reason.is_abnormal() {
                    self.failed.add(path);
                }
            }
            Lifecycle::StartFailed(_) => self.start_failures += 1,
            Lifecycle::Blocked(_) => self.blocked += 1,
            Lifecycle::Abandoned => {
                self.abandoned += 1;
                self.failed.add(path);
            }
            _ => {}
        }
    }

    fn time(&mut self, path: &str, what: &Lifecycle, at: Instant) {
        match what {
            Lifecycle::Started => {
                if self.handshakes.len() >= HANDSHAKES {
                    // The ends of many were missed.
                    self.handshakes.clear();
                }
                self.handshakes.insert(path.to_owned(), at);
            }
            Lifecycle::Down(_) => {
                if let Some(began) = self.handshakes.remove(path) {
                    self.handshakes_took.add(at.saturating_duration_since(began));
                }
            }
            _ => {}
        }
    }
}

impl Failed {
    fn add(&mut self, path: &str) {
        if self.paths.insert(path.to_owned()) {
            self.order.push_back(path.to_owned());
        }
        if self.order.len() > FAILED {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.paths.remove(&oldest));
        }
    }
}

/// Limit of remembered handshakes: more than are under way at once.
const HANDSHAKES: usize = 16_384;
/// Limit of remembered failures: more than fail before the first of them is restarted.
const FAILED: usize = 4_096;
