//! Slot of a subscriber: what flows in it, rewritten into one stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use callboard_peer_connection::{
    RtpCodecCapability, RtpPacket, SenderId, TrackKind, TransceiverId, Vp8Rewrite,
};

use crate::core::rewrite::{Position, Rewriter, Rewritten};
use crate::core::switch::{Switch, Verdict};
use crate::event::TrackId;
use crate::messages::{MediaPacket, ToPublisher};
use crate::shared::{Seat, Shared};
use crate::stage;

/// A slot, and what flows in it.
pub(super) struct Slot {
    pub(super) transceiver: TransceiverId,
    pub(super) sender: SenderId,
    pub(super) track: Option<TrackId>,
    publisher: Option<Arc<Seat>>,
    /// By the publisher's payload types.
    formats: HashMap<u8, Format>,
    /// Epoch of what flows.
    epoch: Option<u32>,
    pub(super) switch: Switch,
    pub(super) rewriter: Rewriter,
    pub(super) position: Arc<Mutex<Option<Position>>>,
}

/// Form of packets on the participant's connection.
#[derive(Clone, Copy)]
struct Format {
    payload_type: u8,
    /// Clock rate of their times, in Hz.
    clock_rate: u32,
}

impl Slot {
    pub(super) fn new(assigned: &stage::Slot) -> Self {
        let position = Arc::clone(&assigned.position);
        let last = *position.lock().unwrap_or_else(PoisonError::into_inner);
        let rewriter = match last {
            Some(last) => Rewriter::resume(last),
            None => Rewriter::new(random()),
        };
        Self {
            transceiver: assigned.transceiver,
            sender: assigned.sender,
            track: None,
            publisher: None,
            formats: HashMap::new(),
            epoch: None,
            switch: Switch::default(),
            rewriter,
            position,
        }
    }

    /// Lets this track flow in the slot from its next key frame on.
    pub(super) fn carry(
        &mut self,
        assigned: &stage::Slot,
        track: Option<&stage::Track>,
        shared: &Shared,
    ) {
        let id = track.map(|track| track.info.id);
        let is_new = self.track != id;
        (self.track, self.formats, self.publisher) = (id, HashMap::new(), None);
        let Some(track) = track else {
            self.switch.pause();
            return;
        };
        let formats = track.codecs.iter();
        let formats = formats.filter_map(|(theirs, codec)| {
            let payload_type = counterpart(codec, assigned)?;
            let usual = if assigned.kind == TrackKind::Audio { 48_000 } else { 90_000 };
            let clock_rate = if codec.clock_rate == 0 { usual } else { codec.clock_rate };
            Some((*theirs, Format { payload_type, clock_rate }))
        });
        self.formats = formats.collect();
        self.publisher = shared.seat(track.info.participant);
        if is_new {
            self.switch.pause();
            self.switch.aim(0, u8::MAX);
            self.want();
        }
    }

    /// Asks for a key frame of what should flow.
    pub(super) fn want(&self) {
        let encoding = self.switch.waits_for().or(self.switch.current());
        if let (Some(track), Some(encoding), Some(publisher)) =
            (self.track, encoding, &self.publisher)
        {
            // A publisher that has no room for it has enough others.
            publisher.publisher.try_send(ToPublisher::WantKeyframe { track, encoding });
        }
    }

    /// Returns the packet as the participant gets it.
    pub(super) fn forward(&mut self, media: &MediaPacket) -> Option<RtpPacket> {
        let incoming = media.incoming();
        let flows = self.switch.current() == Some(media.encoding);
        let goes_on = self.epoch == Some(media.epoch) && self.rewriter.continues(&incoming);
        let format = self.formats.get(&media.packet.payload_type);
        let (Ok(contents), Some(&Format { payload_type, clock_rate })) = (media.contents, format)
        else {
            if flows && goes_on {
                self.rewriter.leave_out(&incoming, true);
            }
            return None;
        };
        if flows && !goes_on && !contents.entry {
            // Pictures after a silence, or of another source, begin with a key frame.
            self.switch.pause();
            self.switch.aim(0, u8::MAX);
            self.want();
        }
        let rewritten = match self.switch.decide(media.seen(&contents)) {
            Verdict::Ignore => return None,
            Verdict::Forward if goes_on => self.rewriter.forward(&incoming)?,
            Verdict::Begin | Verdict::Forward => {
                self.epoch = Some(media.epoch);
                self.rewriter.begin(&incoming, clock_rate)
            }
            Verdict::LeaveOut => {
                self.rewriter.leave_out(&incoming, true);
                return None;
            }
        };
        let Rewritten { number, timestamp, picture_id, tl0 } = rewritten;
        let mut packet = media.packet.clone();
        packet.payload_type = payload_type;
        (packet.rid, packet.sequence_number, packet.timestamp) = (None, number, timestamp);
        packet.vp8 = picture_id.is_some().then(|| Vp8Rewrite {
            picture_id,
            tl0_picture_index: tl0,
            ..Vp8Rewrite::default()
        });
        Some(packet)
    }
}

/// Returns the payload type of the same codec on the connection of a slot: with the same parameters, or with those that
/// a decoder of the one takes of the other.
fn counterpart(codec: &RtpCodecCapability, slot: &stage::Slot) -> Option<u8> {
    let same = |other: &RtpCodecCapability| other.mime_type.eq_ignore_ascii_case(&codec.mime_type);
    let others = || slot.codecs.iter().filter(|(_, other)| same(other));
    let exact = others().find(|(_, other)| other.sdp_fmtp_line == codec.sdp_fmtp_line);
    let exact = exact.or_else(|| others().find(|(_, other)| profile(other) == profile(codec)));
    exact.map(|(number, _)| *number)
}

/// Returns what must be the same of a codec's parameters: the packetization of H.264 and its profile (RFC 6184 §8.1),
/// the profiles of VP9 and AV1. Other parameters are limits and wishes of the receiver.
fn profile(codec: &RtpCodecCapability) -> [String; 3] {
    let of = |name: &str, usual: &str| {
        let parameters = codec.sdp_fmtp_line.split(';').filter_map(|it| it.trim().split_once('='));
        let mut found = parameters.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map_or(usual, |(_, value)| value).to_ascii_lowercase()
    };
    if codec.mime_type.eq_ignore_ascii_case("video/H264") {
        let mut profile = of("profile-level-id", "420010");
        // The last two digits are the level.
        profile.truncate(4);
        return [of("packetization-mode", "0"), profile, String::new()];
    }
    [of("profile-id", "0"), of("profile", "0"), String::new()]
}

fn random() -> u16 {
    uuid::Uuid::new_v4().as_u128() as u16
}
