//! Bitrate of what flows to a viewer beside what is allocated.

use std::time::{Duration, Instant};

use super::allocate::Bitrate;

/// Bitrate of a stream of packets, measured over half a second and smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    bytes: u64,
    since: Option<Instant>,
    bitrate: Bitrate,
}

impl Traffic {
    /// Adds a packet of this size.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Returns the bitrate at this time.
    pub(crate) fn bitrate(&mut self, now: Instant) -> Bitrate {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= LEAST {
            let latest = self.bytes * 8_000 / elapsed.as_millis() as u64;
            // Rises at once, so that video makes room, and falls by halves.
            let half = self.bitrate.as_bps() / 2;
            self.bitrate = Bitrate::from_bps(latest.max(half));
            (self.bytes, self.since) = (0, Some(now));
        }
        self.bitrate
    }
}

/// Least time over which is measured.
const LEAST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_rises_at_once_and_falls_by_halves() {
        let (mut traffic, mut now) = (Traffic::default(), tokio::time::Instant::now().into_std());
        let mut after = |bytes, milliseconds| {
            traffic.add(bytes);
            now += Duration::from_millis(milliseconds);
            traffic.bitrate(now).as_bps()
        };

        assert_eq!(after(0, 0), 0);
        assert_eq!(after(2_500, 499), 0, "too soon");
        assert_eq!(after(2_500, 1), 80_000);
        assert_eq!(after(10_000, 1_000), 80_000);
        assert_eq!(after(0, 500), 40_000);
        assert_eq!(after(0, 500), 20_000);
    }
}
