//! Time of the boot clock, and where it is read.

use std::ops::Add;
use std::time::Duration;

/// Time since the machine was started, times included when it slept or was suspended: a node that wakes up must not
/// believe that its session still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    /// Start of the machine.
    pub(crate) const ZERO: Self = Self(Duration::ZERO);

    /// Creates the time so many nanoseconds after the start of the machine.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }

    /// Returns the nanoseconds since the start of the machine; 584 years at most.
    pub(crate) fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the time from `earlier` until this time; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<Duration> for BootTime {
    fn from(since_boot: Duration) -> Self {
        Self(since_boot)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// Time as a core is told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What leases are measured by.
    pub(crate) boot: BootTime,
    /// Wall clock in milliseconds since 1970, for epochs alone: it may jump.
    pub(crate) unix_ms: u64,
}
