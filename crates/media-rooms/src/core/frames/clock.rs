//! Clocks of received streams: when each frame was captured, on the clock of this machine. The streams of one sender
//! are brought in step by its reports (RFC 3550 §6.4.1).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::reports::ReportedClock;

/// Clock of a sender: its time of day on the clock of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderClock {
    /// Zero of all times in here.
    origin: Instant,
    /// Added to the sender's time of day, in µs since 1970, to get µs after the origin. Includes the way of the
    /// reports.
    offset: Option<i64>,
}

/// Clock of one stream of a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamClock {
    /// In Hz.
    rate: u32,
    /// Latest time of the stream, without wraps.
    latest: Option<i64>,
    /// Time of the stream, and µs after the origin at which a packet of it came. For a sender that has not reported.
    arrived: Option<(i64, i64)>,
    reported: ReportedClock,
    last: Option<i64>,
}

impl SenderClock {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, offset: None }
    }

    fn micros(&self, at: Instant) -> i64 {
        signed_micros(at, self.origin)
    }

    /// Handles a report of one of the sender's streams.
    pub(crate) fn handle_report(
        &mut self,
        stream: &mut StreamClock,
        ntp: SystemTime,
        rtp_time: u32,
        received: Instant,
    ) {
        let Some(day) = micros_since_1970(ntp) else { return };
        stream.reported.handle_report(ntp, rtp_time);
        let measured = self.micros(received).saturating_sub(day);
        let offset = match self.offset {
            // Jitter is smoothed and a drift followed, for all streams together.
            Some(offset) if measured.abs_diff(offset) < JUMP => {
                offset + (measured - offset) / SMOOTHING
            }
            // The first, or a clock that was set.
            _ => measured,
        };
        self.offset = Some(offset);
    }

    /// Returns when what has this time in a stream was captured, as far as is known: never before what came before it.
    /// `at` is when it was received.
    pub(crate) fn captured(
        &self,
        stream: &mut StreamClock,
        timestamp: u32,
        at: Instant,
    ) -> Instant {
        let (now, time) = (self.micros(at), stream.widen(timestamp));
        stream.latest = Some(stream.latest.map_or(time, |latest| latest.max(time)));
        let near = |captured: &i64| captured.abs_diff(now) < FAR;
        let by_report = stream.reported.time_of_day(timestamp).and_then(micros_since_1970);
        let by_report = by_report.zip(self.offset).map(|(day, offset)| day.saturating_add(offset));
        let by_arrival = stream.arrived.map(|(zero, arrived)| arrived + stream.micros(time - zero));
        let captured = by_report.filter(near).or(by_arrival.filter(near)).unwrap_or_else(|| {
            // The first, or a sender whose times have jumped.
            stream.arrived = Some((time, now));
            now
        });
        let captured = stream.last.map_or(captured, |last| captured.max(last));
        stream.last = Some(captured);
        let distance = Duration::from_micros(captured.unsigned_abs());
        let moved = if captured < 0 {
            self.origin.checked_sub(distance)
        } else {
            self.origin.checked_add(distance)
        };
        moved.unwrap_or(at)
    }
}

impl StreamClock {
    pub(crate) fn new(rate: u32) -> Self {
        let reported = ReportedClock::new(rate);
        Self { rate: rate.max(1), latest: None, arrived: None, reported, last: None }
    }

    /// Returns a time of the stream without wraps: the one closest to the latest.
    fn widen(&self, timestamp: u32) -> i64 {
        match self.latest {
            Some(latest) => latest + i64::from(timestamp.wrapping_sub(latest as u32).cast_signed()),
            None => i64::from(timestamp),
        }
    }

    fn micros(&self, ticks: i64) -> i64 {
        ticks.saturating_mul(1_000_000) / i64::from(self.rate)
    }
}

/// Returns the µs of a time of day; none of one before 1970.
fn micros_since_1970(day: SystemTime) -> Option<i64> {
    day.duration_since(UNIX_EPOCH).ok().map(|since| since.as_micros() as i64)
}

/// Returns the µs from one moment to another.
fn signed_micros(at: Instant, origin: Instant) -> i64 {
    match at.checked_duration_since(origin) {
        Some(after) => after.as_micros() as i64,
        None => -(origin.saturating_duration_since(at).as_micros() as i64),
    }
}

/// Distance from the arrival, in µs, from which a time of capture is nonsense.
const FAR: u64 = 2_000_000;
/// Change of a sender's clock, in µs, from which it was set and does not drift.
const JUMP: u64 = 1_000_000;
/// Part of a difference that a report makes up for.
const SMOOTHING: i64 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn origin() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn without_reports_the_first_arrival_counts() {
        let begin = origin();
        let (sender, mut sound) = (SenderClock::new(begin), StreamClock::new(48_000));
        let first = u32::MAX - 959;

        assert_eq!(sender.captured(&mut sound, first, begin + MS * 500), begin + MS * 500);
        let late = sender.captured(&mut sound, first.wrapping_add(960), begin + MS * 600);
        assert_eq!(late, begin + MS * 520, "over a wrap of the stream's time");
        let late = sender.captured(&mut sound, first.wrapping_add(1_920), begin + MS * 601);
        assert_eq!(late, begin + MS * 540);
    }

    #[test]
    fn reports_bring_the_streams_of_a_sender_in_step() {
        let begin = origin();
        let mut sender = SenderClock::new(begin);
        let (mut sound, mut picture) = (StreamClock::new(48_000), StreamClock::new(90_000));
        let day = UNIX_EPOCH + Duration::from_secs(1_000_000);
        // Pictures come 80 ms later than the sound of the same moment.
        sender.captured(&mut sound, 7_000, begin + MS * 20);
        sender.captured(&mut picture, 500, begin + MS * 100);

        sender.handle_report(&mut sound, day, 7_000, begin + MS * 20);
        sender.handle_report(&mut picture, day, 500, begin + MS * 20);

        let sound = sender.captured(&mut sound, 7_000 + 48_000, begin + MS * 1_020);
        let picture = sender.captured(&mut picture, 500 + 90_000, begin + MS * 1_100);
        assert_eq!((sound, picture), (begin + MS * 1_020, begin + MS * 1_020));
    }

    #[test]
    fn a_report_that_is_nonsense_changes_nothing() {
        let begin = origin();
        let (mut sender, mut sound) = (SenderClock::new(begin), StreamClock::new(48_000));
        sender.captured(&mut sound, 0, begin);

        sender.handle_report(&mut sound, UNIX_EPOCH, 1 << 30, begin + MS);

        assert_eq!(sender.captured(&mut sound, 960, begin + MS * 25), begin + MS * 20);
    }

    #[test]
    fn a_sender_whose_times_jump_is_followed() {
        let begin = origin();
        let (sender, mut sound) = (SenderClock::new(begin), StreamClock::new(48_000));
        sender.captured(&mut sound, 0, begin);

        let jumped = sender.captured(&mut sound, 1 << 30, begin + MS * 20);

        assert_eq!(jumped, begin + MS * 20);
        assert_eq!(sender.captured(&mut sound, (1 << 30) + 960, begin + MS * 45), begin + MS * 40);
    }

    proptest! {
        #[test]
        fn times_never_run_back_also_where_a_sender_lies(
            said in proptest::collection::vec((any::<bool>(), any::<u32>(), any::<u32>()), 1..40)
        ) {
            let begin = origin();
            let (mut sender, mut stream) = (SenderClock::new(begin), StreamClock::new(90_000));
            let mut last = None;
            for (step, (is_report, timestamp, seconds)) in said.into_iter().enumerate() {
                let at = begin + MS * 10 * step as u32;
                if is_report {
                    let day = UNIX_EPOCH + Duration::from_secs(seconds.into());
                    sender.handle_report(&mut stream, day, timestamp, at);
                } else {
                    let captured = sender.captured(&mut stream, timestamp, at);
                    prop_assert!(Some(captured) >= last);
                    last = Some(captured);
                }
            }
        }
    }
}
