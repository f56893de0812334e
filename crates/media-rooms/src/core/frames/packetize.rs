//! Packets of frames that an application writes: Opus (RFC 7587), VP8 (RFC 7741), H.264 (RFC 6184).

use super::LARGEST;
use super::annex_b::annex_b;
use crate::core::packet::Coding;

/// Error of a frame that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Empty,
    TooLarge,
    /// H.264 without a start code.
    NoUnits,
    /// No packets of this codec are made here.
    Codec,
}

/// Numbers that go on from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packetizer {
    picture: u16,
}

impl Packetizer {
    /// Returns the payloads of a frame, in their order; the last one carries the marker of a picture.
    pub(crate) fn packetize(
        &mut self,
        coding: Coding,
        frame: &[u8],
    ) -> Result<Vec<Vec<u8>>, Unfit> {
        if frame.is_empty() {
            return Err(Unfit::Empty);
        }
        if frame.len() > LARGEST {
            return Err(Unfit::TooLarge);
        }
        match coding {
            Coding::Opus if frame.len() > MTU => Err(Unfit::TooLarge),
            Coding::Opus => Ok(vec![frame.to_vec()]),
            Coding::Vp8 => Ok(self.vp8(frame)),
            Coding::H264 => h264(frame),
            Coding::Vp9 | Coding::Av1 | Coding::Red | Coding::OtherAudio | Coding::OtherVideo => {
                Err(Unfit::Codec)
            }
        }
    }

    /// Cuts a frame anywhere; each part says its picture id in 15 bits.
    fn vp8(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let parts = frame.chunks(MTU - 4).enumerate();
        parts
            .map(|(place, part)| {
                let first = if place == 0 { 0x90 } else { 0x80 };
                [&[first, 0x80, high, low], part].concat()
            })
            .collect()
    }
}

/// Puts each unit into a packet of its own, or into fragments (FU-A).
fn h264(frame: &[u8]) -> Result<Vec<Vec<u8>>, Unfit> {
    let mut packets = Vec::new();
    for unit in annex_b(frame) {
        let Some((&header, rest)) = unit.split_first() else { continue };
        if unit.len() <= MTU {
            packets.push(unit.to_vec());
            continue;
        }
        let parts = rest.chunks(MTU - 2);
        let last = parts.len() - 1;
        packets.extend(parts.enumerate().map(|(place, part)| {
            let (start, end) = (u8::from(place == 0) << 7, u8::from(place == last) << 6);
            [&[header & 0xe0 | FU_A, start | end | header & 0x1f], part].concat()
        }));
    }
    if packets.is_empty() { Err(Unfit::NoUnits) } else { Ok(packets) }
}

/// Largest payload, in bytes: with the headers of SRTP, UDP and IPv6, and of a tunnel or two, less than 1,280.
const MTU: usize = 1_150;
const FU_A: u8 = 28;
