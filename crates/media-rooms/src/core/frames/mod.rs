//! Frames, put together from the packets of one stream: complete and in order, or not at all. After a loss, pictures go
//! on with the next key frame.

pub(crate) mod annex_b;
pub(crate) mod choice;
pub(crate) mod clock;
pub(crate) mod held;
pub(crate) mod opus;
mod order;
pub(crate) mod packetize;

use std::sync::Arc;
use std::time::Instant;

use self::order::{Next, Order};
use super::packet::Coding;
use super::{h264, vp8};

/// Packet of a stream, as far as frames depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Empty in a packet of padding, which belongs to no frame.
    pub(crate) payload: Arc<[u8]>,
    /// Time at which it was received.
    pub(crate) at: Instant,
}

/// Complete frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    /// As a decoder takes it: H.264 as a byte stream with start codes (Annex B).
    pub(crate) data: Arc<[u8]>,
    /// Whether a decoder can begin here; any sound is so.
    pub(crate) keyframe: bool,
    /// Whether frames before it were lost.
    pub(crate) after_loss: bool,
    pub(crate) timestamp: u32,
    /// Time at which its first packet was received.
    pub(crate) at: Instant,
    /// Width and height in pixels, of a VP8 key frame.
    pub(crate) size: Option<(u16, u16)>,
}

/// Assembler of the frames of one stream.
#[derive(Debug)]
pub(crate) struct Assembler {
    coding: Coding,
    order: Order<Part>,
    building: Option<Building>,
    /// Pictures are of no use before the next key frame.
    waits: bool,
    lost: bool,
}

/// Frame that is not complete yet.
#[derive(Debug)]
struct Building {
    data: Vec<u8>,
    timestamp: u32,
    at: Instant,
    keyframe: bool,
    /// H.264: it has a sequence parameter set, and a picture that refers to no other.
    parameters: bool,
    idr: bool,
    size: Option<(u16, u16)>,
    /// Something of it is missing, malformed, or too much.
    broken: bool,
}

impl Assembler {
    pub(crate) fn new(coding: Coding) -> Self {
        let waits = has_keyframes(coding);
        Self { coding, order: Order::default(), building: None, waits, lost: false }
    }

    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    /// Returns whether nothing comes before the next key frame.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Returns how many bytes it holds of frames that are not complete.
    pub(crate) fn held(&self) -> usize {
        self.order.held() + self.building.as_ref().map_or(0, |frame| frame.data.capacity())
    }

    /// Gives up what it holds.
    pub(crate) fn give_up(&mut self) {
        self.order = Order::default();
        self.lose();
    }

    /// Adds a packet. Returns the frames that are complete with it.
    pub(crate) fn push(&mut self, part: Part) -> Vec<Assembled> {
        let (mut frames, now) = (Vec::new(), part.at);
        let bytes = part.payload.len();
        self.order.push(part.number, part, bytes);
        while let Some(next) = self.order.poll(now) {
            match next {
                Next::Gap => self.lose(),
                Next::Packet(part) if part.payload.is_empty() => {}
                Next::Packet(part) => self.add(&part, &mut frames),
            }
        }
        frames
    }

    fn lose(&mut self) {
        (self.building, self.lost) = (None, true);
        self.waits = has_keyframes(self.coding);
    }

    fn add(&mut self, part: &Part, frames: &mut Vec<Assembled>) {
        match self.coding {
            Coding::Opus | Coding::OtherAudio => {
                let mut sound = Building::new(part);
                (sound.keyframe, sound.data) = (true, part.payload.to_vec());
                self.building = Some(sound);
                frames.extend(self.finish());
            }
            Coding::Vp8 => self.add_vp8(part, frames),
            Coding::H264 => self.add_h264(part, frames),
            // Where its frames begin and end is not known.
            Coding::Vp9 | Coding::Av1 | Coding::Red | Coding::OtherVideo => {}
        }
    }

    fn add_vp8(&mut self, part: &Part, frames: &mut Vec<Assembled>) {
        let read = vp8::parse(&part.payload);
        if self.is_another(part) || read.is_ok_and(|read| read.frame_start) {
            // Senders mark the last packet of a frame, but another that follows ends it too.
            frames.extend(self.finish());
        }
        let begins = self.building.is_none();
        let frame = self.building.get_or_insert_with(|| Building::new(part));
        match read {
            Ok(read) if !begins || read.frame_start => {
                if begins {
                    (frame.keyframe, frame.size) = (read.keyframe, read.size);
                }
                frame.extend(&part.payload[read.descriptor..]);
            }
            _ => frame.broken = true,
        }
        if part.marker {
            frames.extend(self.finish());
        }
    }

    fn add_h264(&mut self, part: &Part, frames: &mut Vec<Assembled>) {
        if self.is_another(part) {
            frames.extend(self.finish());
        }
        let begins = self.building.is_none();
        let frame = self.building.get_or_insert_with(|| Building::new(part));
        match h264::parse(&part.payload) {
            Ok(read) if !begins || read.unit_start => {
                frame.parameters |= read.parameters;
                frame.idr |= read.idr;
                frame.keyframe = frame.parameters && frame.idr;
                h264::units(&part.payload, |piece| match piece {
                    h264::Piece::Begins(header) => frame.extend(&[0, 0, 0, 1, header]),
                    h264::Piece::Bytes(bytes) => frame.extend(bytes),
                });
            }
            _ => frame.broken = true,
        }
        if part.marker {
            frames.extend(self.finish());
        }
    }

    /// Returns whether a packet is of another frame than the one that is being built.
    fn is_another(&self, part: &Part) -> bool {
        self.building.as_ref().is_some_and(|frame| frame.timestamp != part.timestamp)
    }

    fn finish(&mut self) -> Option<Assembled> {
        let frame = self.building.take()?;
        if frame.broken || frame.data.is_empty() {
            self.lose();
            return None;
        }
        if self.waits && !frame.keyframe {
            self.lost = true;
            return None;
        }
        self.waits = false;
        Some(Assembled {
            data: frame.data.into(),
            keyframe: frame.keyframe,
            after_loss: std::mem::take(&mut self.lost),
            timestamp: frame.timestamp,
            at: frame.at,
            size: frame.size,
        })
    }
}

impl Building {
    fn new(part: &Part) -> Self {
        Self {
            data: Vec::new(),
            timestamp: part.timestamp,
            at: part.at,
            keyframe: false,
            parameters: false,
            idr: false,
            size: None,
            broken: false,
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.data.len() + bytes.len() > LARGEST {
            self.broken = true;
        }
        if !self.broken {
            self.data.extend_from_slice(bytes);
        }
    }
}

/// Returns whether the frames of a coding are known, and not all of them are key frames.
pub(crate) fn has_keyframes(coding: Coding) -> bool {
    matches!(coding, Coding::Vp8 | Coding::H264)
}

/// Largest frame, in bytes; a key frame of a busy screen at 4K has less than half of it. Larger ones are dropped.
pub(crate) const LARGEST: usize = 4 << 20;

#[cfg(test)]
mod tests;
