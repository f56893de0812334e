//! Frames of one line that are under way: those sent and not acknowledged, and those received before their turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::datagram::Frame;
use crate::boot_time::BootTime;

/// Frames that were sent, and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Number of the last frame that was acknowledged.
    acked: u64,
    flight: VecDeque<InFlight>,
    bytes: usize,
    /// Rounds of sending again since something was acknowledged.
    rounds: u32,
}

/// Frame that was sent, as its datagram.
#[derive(Debug)]
struct InFlight {
    datagram: Bytes,
    sent: BootTime,
}

impl Sending {
    pub(super) fn frames(&self) -> usize {
        self.flight.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of the next frame; none if the window has no room for so many bytes.
    pub(super) fn next(&self, bytes: usize) -> Option<u64> {
        let room = self.flight.len() < WINDOW_FRAMES && self.bytes + bytes <= WINDOW_BYTES;
        room.then(|| self.acked + self.flight.len() as u64 + 1)
    }

    /// Notes that the next frame is sent.
    pub(super) fn push(&mut self, now: BootTime, datagram: Bytes) {
        self.bytes += datagram.len();
        self.flight.push_back(InFlight { datagram, sent: now });
    }

    /// Takes an acknowledgement. Returns the frames before the first gap of the receiver that must be sent again: those
    /// that were sent longer ago than an answer takes.
    pub(super) fn acknowledge(
        &mut self,
        now: BootTime,
        ack: u64,
        beyond: u64,
        answer: Duration,
    ) -> Vec<Bytes> {
        while self.acked < ack
            && let Some(frame) = self.flight.pop_front()
        {
            self.acked += 1;
            self.bytes -= frame.datagram.len();
            self.rounds = 0;
        }
        let gap = beyond.saturating_sub(self.acked + 1).min(self.flight.len() as u64);
        // An old acknowledgement knows nothing of the gap.
        let gap = if ack == self.acked { gap as usize } else { 0 };
        self.send_again(now, gap, answer)
    }

    /// Returns when something must be sent again.
    pub(super) fn due(&self) -> Option<BootTime> {
        self.flight.front().map(|frame| frame.sent + self.patience())
    }

    /// Returns what must be sent again because it was not acknowledged in time.
    pub(super) fn resend(&mut self, now: BootTime) -> Vec<Bytes> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let patience = self.patience();
        self.rounds += 1;
        self.send_again(now, self.flight.len(), patience)
    }

    /// Returns those of the first frames that were sent so long ago, as many as a batch has.
    fn send_again(&mut self, now: BootTime, frames: usize, age: Duration) -> Vec<Bytes> {
        let (mut again, mut bytes) = (Vec::new(), 0);
        let first = self.flight.iter_mut().take(frames);
        for frame in first.filter(|frame| now.since(frame.sent) >= age) {
            bytes += frame.datagram.len();
            if again.len() >= BATCH_FRAMES || (bytes > BATCH_BYTES && !again.is_empty()) {
                break;
            }
            frame.sent = now;
            again.push(frame.datagram.clone());
        }
        again
    }

    /// Time after which a frame is sent again. It doubles with each round that brings nothing, up to eightfold.
    fn patience(&self) -> Duration {
        RESEND * 2_u32.pow(self.rounds.min(MOST_DOUBLINGS))
    }
}

/// Frames that were received, and what the other side must be told of it.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// Number up to which all frames were received.
    have: u64,
    /// Frames beyond the first gap.
    ahead: BTreeMap<u64, Frame>,
    ahead_bytes: usize,
    /// Frames and bytes that were received and not acknowledged.
    untold: (usize, usize),
    /// Time when an acknowledgement must be sent.
    due: Option<BootTime>,
    told: BootTime,
}

impl Receiving {
    pub(super) fn have(&self) -> u64 {
        self.have
    }

    /// Returns the least number beyond the first gap; 0 if there is none.
    pub(super) fn beyond(&self) -> u64 {
        self.ahead.keys().next().copied().unwrap_or_default()
    }

    pub(super) fn due(&self) -> Option<BootTime> {
        self.due
    }

    /// Notes that an acknowledgement is sent.
    pub(super) fn acknowledged(&mut self, now: BootTime) {
        (self.untold, self.due, self.told) = ((0, 0), None, now);
    }

    /// Takes a frame. Returns those whose turn it is now, in order: none if it was received before, or is out of turn.
    pub(super) fn take(&mut self, now: BootTime, frame: Frame) -> Vec<Frame> {
        let bytes = frame.body.len() + frame.service.len();
        let mut ready = Vec::new();
        if frame.number == self.have + 1 {
            ready.push(frame);
            self.have += 1;
            while let Some(frame) = self.ahead.remove(&(self.have + 1)) {
                self.ahead_bytes -= frame.body.len() + frame.service.len();
                ready.push(frame);
                self.have += 1;
            }
        } else if frame.number > self.have
            && frame.number - self.have <= WINDOW_FRAMES as u64
            && self.ahead_bytes + bytes <= WINDOW_BYTES
            && !self.ahead.contains_key(&frame.number)
        {
            self.ahead_bytes += bytes;
            self.ahead.insert(frame.number, frame);
        }
        self.untold.0 += 1;
        self.untold.1 += bytes;
        let wait = if self.untold.0 >= UNTOLD_FRAMES || self.untold.1 >= UNTOLD_BYTES {
            now
        } else if ready.is_empty() || !self.ahead.is_empty() {
            // The other side must know of a gap, or that it sends what is here.
            now.max(self.told + GAP_PAUSE)
        } else {
            now + ACK_DELAY
        };
        self.due = Some(self.due.map_or(wait, |due| due.min(wait)));
        ready
    }
}

/// Frames and bytes that may be under way in one direction of a line: 4,096 and 4 MiB.
pub(super) const WINDOW_FRAMES: usize = 4_096;
pub(super) const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Time after which a frame that was not acknowledged is sent again.
pub(super) const RESEND: Duration = Duration::from_millis(200);
const MOST_DOUBLINGS: u32 = 3;
/// What is sent again at once, at most.
const BATCH_FRAMES: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;
/// Time for which a frame waits for an acknowledgement that answers others too.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// Shortest time between two acknowledgements that tell of a gap.
const GAP_PAUSE: Duration = Duration::from_millis(5);
/// Frames and bytes that are acknowledged at once.
const UNTOLD_FRAMES: usize = 256;
const UNTOLD_BYTES: usize = 512 * 1024;
