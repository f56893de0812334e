//! Clocks of the machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::boot_time::{BootTime, Now};

/// Clock by which a node's session holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The machine's.
    Boot,
    /// Tokio's, which tests can pause, from the time of its creation.
    #[cfg(test)]
    Tokio(tokio::time::Instant),
}

impl Clock {
    pub(crate) fn boot(self) -> BootTime {
        match self {
            Self::Boot => BootTime::from(read(BOOT)),
            #[cfg(test)]
            Self::Tokio(began) => BootTime::from(DAY + began.elapsed()),
        }
    }

    pub(crate) fn now(self) -> Now {
        let unix_ms = read(ClockId::CLOCK_REALTIME).as_millis();
        Now { boot: self.boot(), unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX) }
    }
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("these clocks can always be read").into()
}

/// Clock that goes on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere the monotonic clock does.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

#[cfg(test)]
const DAY: Duration = Duration::from_secs(86_400);
