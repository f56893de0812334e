//! Reports of a sender on the clock of one of its streams (RFC 3550 §6.4.1).

use std::time::{Duration, SystemTime};

/// Clock of a stream, as its sender reports on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedClock {
    /// In Hz.
    rate: u32,
    /// A time of day of the sender, and the stream's time of the same moment.
    reported: Option<(SystemTime, u32)>,
}

impl ReportedClock {
    /// Creates the clock of a stream that counts so many times in a second.
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), reported: None }
    }

    /// Handles a report.
    pub(crate) fn handle_report(&mut self, ntp: SystemTime, rtp_time: u32) {
        self.reported = Some((ntp, rtp_time));
    }

    /// Returns the sender's time of day of what has this time in the stream; none before its first report. Times count
    /// as those next to the last report.
    pub(crate) fn time_of_day(&self, timestamp: u32) -> Option<SystemTime> {
        let (time, rtp_time) = self.reported?;
        let ticks = timestamp.wrapping_sub(rtp_time).cast_signed();
        let apart = Duration::from_secs(1) * ticks.unsigned_abs() / self.rate;
        if ticks < 0 { time.checked_sub(apart) } else { time.checked_add(apart) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_the_last_report_on_over_wraps() {
        let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut clock = ReportedClock::new(90_000);
        assert_eq!(clock.time_of_day(7), None);

        clock.handle_report(day, u32::MAX - 44_999);

        let at = |clock: &ReportedClock, timestamp| clock.time_of_day(timestamp).unwrap();
        assert_eq!(at(&clock, 0), day + Duration::from_millis(500));
        assert_eq!(at(&clock, u32::MAX - 89_999), day - Duration::from_millis(500));
        clock.handle_report(day, 0);
        assert_eq!(at(&clock, 90_000), day + Duration::from_secs(1));
    }
}
