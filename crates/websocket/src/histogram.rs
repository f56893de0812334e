//! Histograms of durations, which many threads update.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len()],
    sum_ns: AtomicU64,
}

/// Snapshot of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    counts: [u64; BOUNDS.len()],
    sum_s: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Returns what was counted so far.
    pub fn snapshot(&self) -> Durations {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed));
        Durations { counts, sum_s: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9 }
    }
}

impl AddAssign for Durations {
    fn add_assign(&mut self, other: Self) {
        self.sum_s += other.sum_s;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }
}

impl Durations {
    /// Returns how many durations there are up to each bound in seconds, beyond the bound before it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS.into_iter().zip(self.counts)
    }

    /// Returns the sum of all durations, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum_s
    }
}

/// Upper bound of each bucket, in seconds; the last holds all that are longer (`+Inf`).
const BOUNDS: [f64; 15] = [
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    f64::INFINITY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_their_bounds_and_added_up() {
        let histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 1_000, 1_000_000] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let mut both = histogram.snapshot();
        both += histogram.snapshot();

        assert_eq!(both.counts[..3], [4, 2, 0]);
        assert_eq!((both.counts[9], both.counts[14]), (2, 2));
        assert!((both.sum_s - 2_002.006).abs() < 1e-6);
    }
}
