//! Numbers, times and picture ids of one outgoing stream: one stream to its receiver, also when another track flows in
//! it.

use std::time::{Duration, Instant};

use super::shifts::Shifts;
use super::vp8::PictureId;

/// Fields of a packet that a forwarder rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// Extended sequence number.
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    /// Whether a frame ends here.
    pub(crate) marker: bool,
    pub(crate) picture_id: Option<PictureId>,
    pub(crate) tl0: Option<u8>,
    /// Time at which it was received.
    pub(crate) at: Instant,
    /// Time at which its frame was captured, by the clock of the sender, which is one for all encodings of a track;
    /// none if the sender has not reported on it.
    pub(crate) captured: Option<Instant>,
}

/// What these fields become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    /// Picture id in as many bits as it came with.
    pub(crate) picture_id: Option<u16>,
    pub(crate) tl0: Option<u8>,
}

/// Position of a stream: enough for another rewriter to go on where one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    number: u64,
    timestamp: u32,
    picture_id: u64,
    tl0: u8,
    /// Whether the last frame is complete.
    ended: bool,
    at: Instant,
    captured: Option<Instant>,
    /// By how much its time is later than it should be, in units of the codec's clock: what begins comes later by at
    /// least one frame, and that may not add up.
    ahead: u32,
}

impl Position {
    /// Returns the position after a packet. Whether its frame is complete is not known.
    pub(crate) fn after(
        number: u64,
        timestamp: u32,
        picture_id: Option<u16>,
        tl0: Option<u8>,
        at: Instant,
    ) -> Self {
        let (picture_id, tl0) = (picture_id.unwrap_or_default().into(), tl0.unwrap_or_default());
        Self { number, timestamp, picture_id, tl0, ended: false, at, captured: None, ahead: 0 }
    }

    /// Calculates by how much later the time of a packet is that begins after this position, and how much of that is
    /// too much.
    fn until(&self, packet: &Incoming, clock_rate: u32) -> (u32, u32) {
        let arrived = packet.at.saturating_duration_since(self.at);
        let elapsed = self.captured.zip(packet.captured).and_then(|(last, next)| {
            let elapsed = match next.checked_duration_since(last) {
                Some(later) => ticks(later, clock_rate),
                None => -ticks(last - next, clock_rate),
            };
            // An interceptor may have set it to anything.
            let is_near = elapsed.abs_diff(ticks(arrived, clock_rate))
                <= ticks(NEAR, clock_rate).unsigned_abs();
            is_near.then_some(elapsed)
        });
        let due = elapsed.unwrap_or_else(|| ticks(arrived, clock_rate)) - i64::from(self.ahead);
        let later = due.max(i64::from(clock_rate / FRAMES));
        let ahead = (later - due).min(i64::from(clock_rate));
        // More than the range of RTP times, after 13 hours of silence, only wraps.
        (later as u32, ahead as u32)
    }
}

/// Rewriter of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    /// Number of the stream's first packet.
    start: u16,
    /// Highest packet that was sent.
    last: Option<Position>,
    source: Option<Source>,
}

/// What flows in the stream now, from its first packet on.
#[derive(Clone, Debug)]
struct Source {
    numbers: Shifts,
    /// Added to its times.
    time: u32,
    /// Map of its picture ids, without wraps, and the last one of them.
    pictures: Option<(Shifts, u64)>,
    /// Added to its numbers of the lowest temporal layer.
    tl0: u8,
}

impl Rewriter {
    /// Creates a rewriter of a stream that begins. `start` should be random: the first number of a stream is (RFC 3550
    /// §5.1). It is taken modulo 32,768: the receiver of a stream that begins higher could miss a wrap, and with it
    /// the rollover counter of its keys (RFC 3711 §3.3.1).
    pub(crate) fn new(start: u16) -> Self {
        Self { start: start & 0x7fff, last: None, source: None }
    }

    /// Creates a rewriter of a stream that has come to this position.
    pub(crate) fn resume(position: Position) -> Self {
        Self { last: Some(position), ..Self::new(0) }
    }

    /// Returns how far the stream has come; none if nothing was sent.
    pub(crate) fn position(&self) -> Option<Position> {
        self.last
    }

    /// Forgets the clock of the sender: what begins next is another's.
    pub(crate) fn forget_clock(&mut self) {
        if let Some(last) = &mut self.last {
            (last.captured, last.ahead) = (None, 0);
        }
    }

    /// Begins another source with this packet, which follows the last one that was sent. Its time is as much later as
    /// it was captured by the sender's clock, or as it came later where that is not known: at least one frame.
    pub(crate) fn begin(&mut self, packet: &Incoming, clock_rate: u32) -> Rewritten {
        let (later, ahead) = self.last.map_or((0, 0), |last| last.until(packet, clock_rate));
        let captured = packet.captured;
        let next = match self.last {
            // A frame that was cut short shows by a gap, or the decoder would take it for complete.
            Some(last) => Position {
                number: last.number + 1 + u64::from(!last.ended),
                timestamp: last.timestamp.wrapping_add(later),
                picture_id: last.picture_id + 1,
                tl0: last.tl0.wrapping_add(1),
                ended: packet.marker,
                at: packet.at,
                captured,
                ahead,
            },
            None => Position {
                number: u64::from(self.start),
                timestamp: packet.timestamp,
                picture_id: packet.picture_id.map_or(0, |id| u64::from(id.value)),
                tl0: packet.tl0.unwrap_or_default(),
                ended: packet.marker,
                at: packet.at,
                captured,
                ahead,
            },
        };
        self.source = Some(Source {
            numbers: Shifts::new(packet.number, next.number),
            time: next.timestamp.wrapping_sub(packet.timestamp),
            pictures: packet.picture_id.map(|id| {
                let first = FIRST_PICTURE + u64::from(id.value);
                (Shifts::new(first, next.picture_id), first)
            }),
            tl0: next.tl0.wrapping_sub(packet.tl0.unwrap_or_default()),
        });
        self.last = Some(next);
        Rewritten {
            number: next.number,
            timestamp: next.timestamp,
            picture_id: packet.picture_id.map(|id| id.narrow(next.picture_id)),
            tl0: packet.tl0.map(|_| next.tl0),
        }
    }

    /// Returns whether a packet can be of the source that flows: its number is near, and it has what was numbered.
    pub(crate) fn continues(&self, packet: &Incoming) -> bool {
        self.source.as_ref().is_some_and(|source| {
            source.numbers.highest().abs_diff(packet.number) <= FAR
                && (packet.picture_id.is_none() || source.pictures.is_some())
        })
    }

    /// Forwards another packet of the source. None if it was left out before, came before the source's first packet, or
    /// is too old.
    pub(crate) fn forward(&mut self, packet: &Incoming) -> Option<Rewritten> {
        let source = self.source.as_mut()?;
        let number = source.numbers.map(packet.number)?;
        let timestamp = packet.timestamp.wrapping_add(source.time);
        let tl0 = packet.tl0.map(|tl0| tl0.wrapping_add(source.tl0));
        let picture = match packet.picture_id {
            Some(id) => Some(source.picture(id)?),
            None => None,
        };
        if let Some(last) = self.last.as_mut().filter(|last| number > last.number) {
            let (id, tl0) = (picture.unwrap_or(last.picture_id), tl0.unwrap_or(last.tl0));
            let Incoming { marker: ended, at, captured, .. } = *packet;
            let ahead = last.ahead;
            *last = Position { number, timestamp, picture_id: id, tl0, ended, at, captured, ahead };
        }
        let picture_id = packet.picture_id.zip(picture).map(|(id, picture)| id.narrow(picture));
        Some(Rewritten { number, timestamp, picture_id, tl0 })
    }

    /// Leaves a packet of the source out, with its picture if none of that was sent: what follows moves up.
    pub(crate) fn leave_out(&mut self, packet: &Incoming, with_picture: bool) {
        let Some(source) = &mut self.source else { return };
        source.numbers.leave_out(packet.number);
        if with_picture
            && let Some(id) = packet.picture_id
            && let Some((pictures, last)) = &mut source.pictures
        {
            *last = id.widen(*last);
            pictures.leave_out(*last);
        }
    }
}

/// Returns a time in units of a clock.
fn ticks(time: Duration, clock_rate: u32) -> i64 {
    let ticks = (time.as_micros() * u128::from(clock_rate) + 500_000) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX / 4)
}

impl Source {
    /// Returns what a picture id becomes, without wraps.
    fn picture(&mut self, id: PictureId) -> Option<u64> {
        // A sender that begins to number its pictures later.
        let (pictures, last) = self.pictures.as_mut()?;
        let wide = id.widen(*last);
        *last = (*last).max(wide);
        pictures.map(wide)
    }
}

impl PictureId {
    /// Returns the id without wraps: the one that is closest to another.
    fn widen(self, near: u64) -> u64 {
        let range = 1u64 << self.bits;
        let ahead = u64::from(self.value).wrapping_sub(near) & (range - 1);
        if ahead < range / 2 { near + ahead } else { (near + ahead).saturating_sub(range) }
    }

    /// Returns an id in as many bits as this one has.
    fn narrow(self, wide: u64) -> u16 {
        (wide & ((1 << self.bits) - 1)) as u16
    }
}

/// Distance of numbers from which a sender has begun anew. Far less than half of what 16 bits can tell: where a jump
/// and a loss come together, a receiver must still guess the number right (RFC 3711 §3.3.1).
const FAR: u64 = 1 << 12;
/// Shortest frame, as a part of a second: what begins comes later by at least one.
const FRAMES: u32 = 50;
/// Difference between the sender's clock and the arrival of its packets above which its reports are not believed.
const NEAR: Duration = Duration::from_secs(2);
/// Where picture ids without wraps begin, so that earlier ones have values too.
const FIRST_PICTURE: u64 = 1 << 16;

#[cfg(test)]
mod tests;
