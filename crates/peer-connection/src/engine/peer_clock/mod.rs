//! Clock of the peer: its time of day on the clock of this machine, and by it when each of its frames was captured.

use std::collections::HashMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::event::SenderReport;
use crate::media::{Rid, TransceiverId};

/// Clock of a peer, as its sender reports tell (RFC 3550 §6.4.1). It is one for all streams of the peer, so that their
/// times tell how they are played in step.
#[derive(Debug, Default)]
pub(super) struct PeerClock {
    offset: Option<Offset>,
    reported: HashMap<Stream, Reported>,
}

/// Stream of a peer.
pub(super) type Stream = (TransceiverId, Option<Rid>);

/// Times in a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTime {
    pub(super) timestamp: u32,
    /// In Hz.
    pub(super) clock_rate: u32,
}

/// Distance of the two clocks: the least that was measured, since what is measured includes the way of a report.
#[derive(Clone, Copy, Debug)]
struct Offset {
    /// Zero of all times of this machine in here.
    origin: Instant,
    /// Added to the peer's time of day, in µs since 1970, to get µs after the origin.
    micros: i64,
    /// When this was measured, in µs after the origin.
    at: i64,
}

/// Latest report on a stream.
#[derive(Clone, Copy, Debug)]
struct Reported {
    /// Time of day of the peer, in µs since 1970.
    day: i64,
    /// Time of the stream at the same moment.
    rtp_time: u32,
}

impl PeerClock {
    /// Handles a report of the peer.
    pub(super) fn handle_report(&mut self, report: &SenderReport) {
        let Ok(day) = report.ntp.duration_since(UNIX_EPOCH) else { return };
        let day = day.as_micros() as i64;
        // A peer that does not know the time of day says 0 (RFC 3550 §6.4.1).
        if day == 0 {
            return;
        }
        let offset = self.offset.get_or_insert(Offset {
            origin: report.received,
            micros: day.saturating_neg(),
            at: 0,
        });
        offset.measure(day, report.received);
        let reported = Reported { day, rtp_time: report.rtp_time };
        self.reported.insert((report.transceiver, report.rid), reported);
    }

    /// Returns when what has this time in a stream was captured, on the clock of this machine: not later than
    /// `received`, the time at which it came. None if the peer has not reported on the stream, or what it says is
    /// nonsense.
    pub(super) fn captured(
        &mut self,
        stream: Stream,
        time: StreamTime,
        received: Instant,
    ) -> Option<Instant> {
        let reported = self.reported.get(&stream)?;
        let day = reported.time_of_day(time);
        let offset = self.offset.as_mut()?;
        let now = offset.micros_at(received);
        let took = now - offset.local(day, now);
        if took.unsigned_abs() >= FAR {
            return None;
        }
        if took < 0 {
            // Nothing comes before it is captured: the reports have taken longer than this packet.
            (offset.micros, offset.at) = (now - day, now);
        }
        received.checked_sub(Duration::from_micros(took.max(0).unsigned_abs()))
    }

    /// Forgets the streams of other transceivers.
    pub(super) fn keep(&mut self, is_kept: impl Fn(TransceiverId) -> bool) {
        self.reported.retain(|(transceiver, _), _| is_kept(*transceiver));
    }
}

impl Offset {
    /// Returns the µs from the origin to a moment.
    fn micros_at(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.origin) {
            Some(after) => after.as_micros() as i64,
            None => -(self.origin.saturating_duration_since(at).as_micros() as i64),
        }
    }

    /// Returns a time of day of the peer in µs after the origin, as far as is known `now`: the peer's clock may be
    /// slow.
    fn local(&self, day: i64, now: i64) -> i64 {
        day + self.micros + (now - self.at).max(0) / DRIFT
    }

    /// Takes what a report says, if it has come faster than those before, or the peer's clock was set.
    fn measure(&mut self, day: i64, received: Instant) {
        let now = self.micros_at(received);
        let slower = now - self.local(day, now);
        if !(0..SET).contains(&slower) {
            (self.micros, self.at) = (now - day, now);
        }
    }
}

impl Reported {
    /// Returns the peer's time of day of a time in the stream, in µs since 1970. Times count as those next to the
    /// report.
    fn time_of_day(&self, time: StreamTime) -> i64 {
        let ticks = time.timestamp.wrapping_sub(self.rtp_time).cast_signed();
        self.day + i64::from(ticks) * 1_000_000 / i64::from(time.clock_rate.max(1))
    }
}

/// Part of the time by which one clock gets ahead of another at most: computers' clocks are right to 100 ppm, and are
/// corrected by no more than 500 ppm while they run (`adjtime`).
const DRIFT: i64 = 2_000;
/// Difference, in µs, from which the peer's clock was set: no report is that much slower than others.
const SET: i64 = 1_000_000;
/// Time from capture to arrival, in µs, from which it is nonsense.
const FAR: u64 = 2_000_000;

#[cfg(test)]
mod tests;
