//! What the operating system knows of a process, and what clients have waited for.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

/// CPU time and memory of one process, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Of all its threads, user and system, also of those that have ended.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        // proc_pid_stat(5): the second field is in brackets, and may hold anything.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let field = |number: usize| -> io::Result<u64> {
            // The first of these is the third of all.
            let text = fields.split(' ').nth(number - 3);
            text.and_then(|text| text.parse().ok())
                .ok_or(io::Error::from(io::ErrorKind::InvalidData))
        };
        let ticks = field(14)? + field(15)?;
        Ok(Self { cpu: Duration::from_millis(ticks * 1_000 / TICKS), rss: field(24)? * PAGE })
    }
}

/// How long something has taken, each time.
pub(crate) struct Waits(Histogram<u64>);

impl Waits {
    pub(crate) fn new() -> Self {
        // 1 µs to a minute, to three digits.
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that fit"))
    }

    pub(crate) fn add(&mut self, wait: Duration) {
        self.0.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn join(&mut self, other: &Self) {
        // Both have the same bounds.
        _ = self.0.add(&other.0);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// `sysconf(_SC_CLK_TCK)` and the page size of every Linux on x86-64 and most others.
const TICKS: u64 = 100;
const PAGE: u64 = 4_096;
