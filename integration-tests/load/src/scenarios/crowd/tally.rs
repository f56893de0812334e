//! Count of what the clients of a crowd have said and heard.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::measure::Waits;
use crate::report::Measured;

pub(super) struct Tally {
    /// Time to which stamps relate.
    epoch: Instant,
    /// Time from which waits count; before, everything happens for the first time.
    from: OnceLock<Instant>,
    delivery: Mutex<Waits>,
    late: Mutex<Waits>,
    said: AtomicU64,
    heard: AtomicU64,
    closed: AtomicU64,
}

/// What remains of a tally.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    delivery_p50_ms: f64,
    delivery_p99_ms: f64,
    late_p99_ms: f64,
    said: u64,
    lost: u64,
    closed: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            from: OnceLock::new(),
            delivery: Mutex::new(Waits::new()),
            late: Mutex::new(Waits::new()),
            said: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }

    /// Counts the waits of messages that are said from this time on.
    pub(super) fn count_from(&self, from: Instant) {
        _ = self.from.set(from);
    }

    /// Returns the stamp of a message that is said now, and was due earlier.
    pub(super) fn said(&self, due: Instant, now: Instant) -> u64 {
        self.said.fetch_add(1, Ordering::Relaxed);
        self.wait(&self.late, now, now.saturating_duration_since(due));
        u64::try_from(now.duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts the delivery of the message with this stamp.
    pub(super) fn heard(&self, stamp: u64) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let said = self.epoch + Duration::from_nanos(stamp);
        self.wait(&self.delivery, said, said.elapsed());
    }

    fn wait(&self, waits: &Mutex<Waits>, said: Instant, wait: Duration) {
        if self.from.get().is_some_and(|from| said >= *from) {
            waits.lock().unwrap_or_else(PoisonError::into_inner).add(wait);
        }
    }

    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_all_delivered(&self) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.said.load(Ordering::Relaxed)
    }

    /// Returns the summary.
    ///
    /// # Errors
    ///
    /// If nothing was delivered.
    pub(super) fn summary(&self) -> io::Result<Summary> {
        let [delivery, late] = [&self.delivery, &self.late]
            .map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        if delivery.count() == 0 {
            return Err(io::Error::other("nothing was delivered"));
        }
        let said = self.said.load(Ordering::Relaxed);
        Ok(Summary {
            delivery_p50_ms: delivery.percentile(50.0),
            delivery_p99_ms: delivery.percentile(99.0),
            late_p99_ms: late.percentile(99.0),
            said,
            lost: said.saturating_sub(self.heard.load(Ordering::Relaxed)),
            closed: self.closed.load(Ordering::Relaxed),
        })
    }
}

impl Summary {
    pub(super) fn measured(&self) -> Measured {
        Measured::default()
            .with("delivery p50, ms", self.delivery_p50_ms)
            .with("delivery p99, ms", self.delivery_p99_ms)
            .with("said late p99, ms", self.late_p99_ms)
            .with("messages", self.said as f64)
            .with("lost", self.lost as f64)
            .with("closed", self.closed as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_and_not_heard_is_lost() {
        let tally = Tally::new();
        tally.count_from(tally.epoch);

        let stamps = [1, 2, 3].map(|_| tally.said(tally.epoch, Instant::now()));
        stamps[..2].iter().for_each(|stamp| tally.heard(*stamp));

        let Summary { said, lost, closed, .. } = tally.summary().unwrap();
        assert_eq!((said, lost, closed), (3, 1, 0));
        assert!(!tally.is_all_delivered());
    }

    #[test]
    fn waits_count_from_the_end_of_the_warm_up() {
        let tally = Tally::new();
        let (early, from) = (Duration::from_secs(1), tally.epoch + Duration::from_secs(2));
        tally.count_from(from);

        // Said when it was due, and two seconds late.
        tally.said(tally.epoch + early, tally.epoch + early);
        tally.said(from, from + Duration::from_secs(2));

        let late = tally.late.lock().unwrap();
        assert_eq!(late.count(), 1);
        assert!((1_999.0..2_002.0).contains(&late.percentile(50.0)));
    }

    #[test]
    fn a_crowd_that_hears_nothing_has_no_percentile() {
        let tally = Tally::new();
        tally.said(tally.epoch, Instant::now());

        assert_eq!(tally.summary().unwrap_err().to_string(), "nothing was delivered");
    }
}
