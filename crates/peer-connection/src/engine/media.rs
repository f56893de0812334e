//! Media in the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::PayloadParams;
use str0m::media::{MediaTime, Mid, Pt};
use str0m::rtp::{RtpWrite, Ssrc};

use super::{Engine, convert, extension_values};
use crate::error::{KeyframeError, WriteError};
use crate::media::*;

/// What is needed to send packets through a transceiver.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// None while it has no section.
    mid: Option<Mid>,
    /// Payload types that the peer has agreed to: a bit for each.
    payload_types: u128,
    /// By encodings: a few.
    streams: Vec<(Option<Rid>, OutgoingStream)>,
}

/// Stream of packets of one encoding.
#[derive(Debug)]
struct OutgoingStream {
    /// Source under which the engine had it last.
    source: Ssrc,
    numbering: Numbering,
}

impl Outgoing {
    /// Returns the numbering of a packet's stream, which has this source in the engine.
    fn numbering(&mut self, source: Ssrc, packet: &RtpPacket) -> &mut Numbering {
        let known = self.streams.iter().position(|(rid, _)| *rid == packet.rid);
        let place = known.unwrap_or_else(|| {
            let numbering = Numbering::beginning(packet.sequence_number);
            self.streams.push((packet.rid, OutgoingStream { source, numbering }));
            self.streams.len() - 1
        });
        let stream = &mut self.streams[place].1;
        stream.source = source;
        &mut stream.numbering
    }
}

/// Position of a stream's sequence numbers on this connection.
///
/// A receiver takes the upper 32 bits of the first number that it sees for 0 (RFC 3711 §3.3.1), and misreads numbers
/// that are more than 2^15 behind or ahead of the last.
#[derive(Debug)]
pub(super) struct Numbering {
    /// Offset that is added, modulo 2^64.
    offset: u64,
    latest: u64,
    /// Time of the packet with the latest number, and what was replaced in it.
    timestamp: u32,
    vp8: Option<Vp8Rewrite>,
}

impl Numbering {
    fn beginning(first: u64) -> Self {
        // Low enough that the next wrap is far, and high enough that late packets have a number.
        let begin = if first < HALF { first } else { LATE + first % (HALF / 2) };
        Self { offset: begin.wrapping_sub(first), latest: begin, timestamp: 0, vp8: None }
    }

    /// Returns the number of a packet on this connection; none before the beginning.
    fn number(&mut self, packet: &RtpPacket) -> Option<u64> {
        let number = packet.sequence_number;
        let mut moved = number.wrapping_add(self.offset);
        let ahead = moved.wrapping_sub(self.latest) as i64;
        if ahead.unsigned_abs() > HALF {
            // Another source: its numbers go on after the last one's.
            self.offset = self.latest.wrapping_add(1).wrapping_sub(number);
            moved = self.latest + 1;
        }
        if moved > MOST {
            return None;
        }
        if moved >= self.latest {
            self.latest = moved;
            (self.timestamp, self.vp8) = (packet.timestamp, packet.vp8);
        }
        Some(moved)
    }

    fn position(&self) -> SenderPosition {
        SenderPosition {
            sequence_number: self.latest.wrapping_sub(self.offset),
            timestamp: self.timestamp,
            vp8: self.vp8,
        }
    }
}

/// Half of the numbers of 16 bits.
const HALF: u64 = 1 << 15;
/// Packets that may come before the first one.
const LATE: u64 = 1 << 12;
/// Highest number of RTP and SRTP (RFC 3711 §3.3.1); numbers beyond belong to packets before the first.
const MOST: u64 = (1 << 48) - 1;
/// Largest payload in bytes, with header extensions whose length is not fixed: no path without jumbo frames carries
/// more, and other extensions have room beside it.
const LARGEST_PAYLOAD: usize = 1_500;

impl Engine {
    /// Returns the payload types that the peer has agreed to in this section, in the order of local preference.
    pub(super) fn params(&self, mid: Mid) -> impl Iterator<Item = &PayloadParams> {
        let agreed = self.rtc.media(mid).map(|media| media.remote_pts()).unwrap_or_default();
        let all = self.rtc.codec_config().params().iter();
        all.filter(move |params| agreed.contains(&params.pt()))
    }

    /// Notes through which sections packets are sent, and in which formats.
    pub(super) fn bind_outgoing(&mut self) {
        self.outgoing.values_mut().for_each(|outgoing| outgoing.mid = None);
        for (id, mid) in self.mids.clone() {
            let bit = |pt: Option<Pt>| pt.map_or(0, |pt| 1_u128 << (*pt & 127));
            let both = |one: &PayloadParams| bit(Some(one.pt())) | bit(one.red());
            let allowed = self.params(mid).fold(0, |all, one| all | both(one));
            let outgoing = self.outgoing.entry(id).or_default();
            (outgoing.mid, outgoing.payload_types) = (Some(mid), allowed);
        }
    }

    /// Returns the payload type of a codec, and its clock rate.
    fn payload_type(&self, mid: Mid, codec: &RtpCodecCapability) -> Option<(Pt, u32)> {
        let found = self.params(mid).find(|params| convert::matches(params, codec))?;
        Some((found.pt(), found.spec().clock_rate.get()))
    }

    /// Returns whether a codec was negotiated.
    pub(crate) fn is_negotiated(
        &self,
        transceiver: TransceiverId,
        codec: &RtpCodecCapability,
    ) -> bool {
        self.mids.get(&transceiver).is_some_and(|mid| self.payload_type(*mid, codec).is_some())
    }

    /// Returns the negotiated codecs.
    pub(crate) fn codecs_of(&self, transceiver: TransceiverId) -> Vec<(u8, RtpCodecCapability)> {
        let Some(mid) = self.mids.get(&transceiver) else { return Vec::new() };
        let redundant = |params: &PayloadParams| Some((*params.red()?, convert::red(params)));
        let codecs = self
            .params(*mid)
            .flat_map(|params| [Some((*params.pt(), convert::codec(params))), redundant(params)]);
        codecs.flatten().collect()
    }

    /// Writes a frame; its time follows from `clock` units of its codec. Poll before the next one.
    pub(crate) fn write_sample(
        &mut self,
        transceiver: TransceiverId,
        codec: &RtpCodecCapability,
        sample: &Sample,
        now: Instant,
        timestamp: impl FnOnce(u32) -> u64,
    ) -> Result<(), WriteError> {
        let mid = *self.mids.get(&transceiver).ok_or(WriteError::NotSending)?;
        let (pt, clock_rate) = self.payload_type(mid, codec).ok_or(WriteError::NotNegotiated)?;
        let rate = convert::frequency(clock_rate);
        let mut writer = self.rtc.writer(mid).ok_or(WriteError::NotSending)?;
        if let Some(rid) = sample.rid {
            writer = writer.rid(rid.as_str().into());
        }
        let time = MediaTime::new(timestamp(clock_rate), rate);
        let wallclock = sample.captured.unwrap_or(now);
        writer.write(pt, wallclock, time, Arc::clone(&sample.data)).map_err(convert::write_error)
    }

    /// Writes a packet. Poll before the next one.
    pub(crate) fn write_packet(
        &mut self,
        transceiver: TransceiverId,
        packet: RtpPacket,
    ) -> Result<(), WriteError> {
        let Some(outgoing) = self.outgoing.get_mut(&transceiver) else {
            return Err(WriteError::NotSending);
        };
        let mid = outgoing.mid.ok_or(WriteError::NotSending)?;
        let pt = Pt::from(packet.payload_type);
        if packet.payload_type > 127 || outgoing.payload_types & 1 << packet.payload_type == 0 {
            return Err(WriteError::NotNegotiated);
        }
        // The engine panics at packets beyond its buffer of 2,000 bytes.
        if packet.payload.len() + packet.extensions.long() > LARGEST_PAYLOAD {
            return Err(WriteError::TooLarge);
        }
        let rewrite = |rewrite| convert::vp8_patch(&packet.payload, rewrite);
        let patch = match packet.vp8.map(rewrite) {
            Some(None) => return Err(WriteError::NotVp8),
            patch => patch.flatten(),
        };
        let mut api = self.rtc.direct_api();
        let known = outgoing.streams.iter().find(|(rid, _)| *rid == packet.rid);
        let known = known.map(|(_, stream)| stream.source);
        let stream = match known.and_then(|source| api.stream_tx(&source)) {
            Some(stream) if stream.mid() == mid => stream,
            // The engine goes through all streams for that.
            _ => {
                let rid = packet.rid.map(|rid| rid.as_str().into());
                api.stream_tx_by_mid(mid, rid).ok_or(WriteError::UnknownEncoding)?
            }
        };
        let numbering = outgoing.numbering(stream.ssrc(), &packet);
        // Older than everything that can be sent: it would be too late anyway.
        let Some(number) = numbering.number(&packet) else { return Ok(()) };
        // The engine reports on the stream by it, and would report nonsense by a time to come.
        let captured = packet.captured.map_or(packet.at, |captured| captured.min(packet.at));
        let values = extension_values::to_send(packet.audio_level, &packet.extensions);
        let mut write =
            RtpWrite::new(pt, number.into(), packet.timestamp, captured, packet.payload)
                .marker(packet.marker)
                .ext_vals(values)
                .nackable(true);
        if let Some(patch) = patch {
            write = write.vp8_patch(patch);
        }
        stream.write_rtp(write);
        Ok(())
    }

    /// Returns where a stream is, if anything was written to it.
    pub(crate) fn position(
        &self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
    ) -> Option<SenderPosition> {
        let streams = &self.outgoing.get(&transceiver)?.streams;
        let (_, stream) = streams.iter().find(|(other, _)| *other == rid)?;
        Some(stream.numbering.position())
    }

    /// Plays a tone: sends its RFC 4733 event, for this duration.
    pub(crate) fn write_tone(
        &mut self,
        transceiver: TransceiverId,
        codec: &RtpCodecCapability,
        event: u8,
        duration: Duration,
        now: Instant,
        timestamp: impl FnOnce(u32) -> u64,
    ) -> Result<(), WriteError> {
        let mid = *self.mids.get(&transceiver).ok_or(WriteError::NotSending)?;
        let (pt, clock_rate) = self.payload_type(mid, codec).ok_or(WriteError::NotNegotiated)?;
        let writer = self.rtc.writer(mid).ok_or(WriteError::NotSending)?;
        let tone = convert::tone(event, duration);
        let time = MediaTime::new(timestamp(clock_rate), convert::frequency(clock_rate));
        writer.telephone_event(tone).write(pt, now, time, Vec::new()).map_err(convert::write_error)
    }

    /// Returns whether tones were negotiated.
    pub(crate) fn has_tones(&self, transceiver: TransceiverId) -> bool {
        let Some(mid) = self.mids.get(&transceiver) else { return false };
        self.params(*mid).any(|params| params.spec().codec.is_tele())
    }

    /// Asks the peer for a key frame.
    pub(crate) fn request_keyframe(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
    ) -> Result<(), KeyframeError> {
        let mid = *self.mids.get(&transceiver).ok_or(KeyframeError::NotReceiving)?;
        let rid = rid.map(|rid| rid.as_str().into());
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(mid, rid).ok_or(KeyframeError::NotReceiving)?;
        stream.request_keyframe(convert::keyframe_kind(kind));
        Ok(())
    }

    /// Returns the SSRC of what is received, and of what is sent.
    pub(crate) fn ssrcs(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
    ) -> (Option<u32>, Option<u32>) {
        let Some(mid) = self.mids.get(&transceiver).copied() else { return (None, None) };
        let rid = rid.map(|rid| rid.as_str().into());
        let mut api = self.rtc.direct_api();
        let receives = api.stream_rx_by_mid(mid, rid).map(|stream| *stream.ssrc());
        let sends = api.stream_tx_by_mid(mid, rid).map(|stream| *stream.ssrc());
        (receives, sends)
    }
}
