//! Slot of a subscriber: what flows in it, rewritten into one stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use callboard_peer_connection::{
    Rid, RtpCodecCapability, RtpPacket, SenderId, TrackKind, TransceiverId, Vp8Rewrite,
};

use crate::bot_seat::BotSeat;
use crate::core::allocate::{Demand, Grant, Layer};
use crate::core::rewrite::{Position, Rewriter, Rewritten};
use crate::core::switch::{Encoding, Switch, Verdict};
use crate::event::{Flow, FlowState, MediaEvent, ParticipantId, TrackId, TrackInfo};
use crate::facts::{Reception, SlotFacts};
use crate::messages::{MediaPacket, ToPublisher};
use crate::shared::{Seat, Shared};
use crate::stage;
use crate::wishes::Wishes;

/// A slot, and what flows in it.
pub(super) struct Slot {
    pub(super) transceiver: TransceiverId,
    pub(super) sender: SenderId,
    mid: String,
    kind: TrackKind,
    pub(super) track: Option<TrackId>,
    publisher: Option<Arc<Seat>>,
    /// In place of a publisher.
    bot: Option<Arc<BotSeat>>,
    /// Names of the track's encodings; empty without simulcast.
    rids: Vec<Rid>,
    /// By the publisher's payload types: a few.
    formats: Vec<(u8, Format)>,
    /// Epoch of what flows.
    epoch: Option<u32>,
    switch: Switch,
    /// Encoding and highest temporal layer that should flow; none if nothing should.
    aim: Option<(Encoding, u8)>,
    /// Layer that was granted last.
    granted: Option<(usize, u8)>,
    /// When a key frame was asked for last.
    asked: Option<Instant>,
    /// How often one was, of this track.
    key_frames_wanted: u64,
    /// What the participant knows of it.
    told: Option<Flow>,
    /// What it has reported last.
    pub(super) reception: Option<Reception>,
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
            mid: assigned.mid.clone(),
            kind: assigned.kind,
            track: None,
            publisher: None,
            bot: None,
            rids: Vec::new(),
            formats: Vec::new(),
            epoch: None,
            switch: Switch::default(),
            aim: None,
            granted: None,
            asked: None,
            key_frames_wanted: 0,
            told: None,
            reception: None,
            rewriter,
            position,
        }
    }

    /// Lets this track flow in the slot; of video, what is [granted](Self::grant).
    pub(super) fn carry(
        &mut self,
        assigned: &stage::Slot,
        track: Option<&stage::Track>,
        shared: &Shared,
    ) {
        let id = track.map(|track| track.info.id);
        // Other encodings have other places.
        let is_new = self.track != id || track.is_some_and(|track| track.encodings != self.rids);
        (self.track, self.formats, self.publisher) = (id, Vec::new(), None);
        if is_new {
            self.pause();
            (self.granted, self.told, self.key_frames_wanted) = (None, None, 0);
            self.rewriter.forget_clock();
        }
        let Some(track) = track else { return };
        self.rids.clone_from(&track.encodings);
        let formats = track.codecs.iter();
        let formats = formats.filter_map(|(theirs, codec)| {
            let payload_type = counterpart(codec, assigned)?;
            let usual = if assigned.kind == TrackKind::Audio { 48_000 } else { 90_000 };
            let clock_rate = if codec.clock_rate == 0 { usual } else { codec.clock_rate };
            Some((*theirs, Format { payload_type, clock_rate }))
        });
        self.formats = formats.collect();
        self.publisher = shared.seat(track.info.participant);
        self.bot = shared.bot(track.info.participant);
        if self.kind == TrackKind::Audio {
            self.aim(0, u8::MAX);
        }
    }

    /// Returns what is to be decided on the slot; none if that is nothing: it carries no video.
    pub(super) fn demand(&self, wishes: &Wishes, speaker: Option<ParticipantId>) -> Option<Demand> {
        let (track, publisher) = (self.track?, self.publisher.as_ref());
        if self.kind != TrackKind::Video {
            return None;
        }
        // A bot has one, which is not measured.
        let layers = publisher.map(|publisher| publisher.layers.load());
        let layers = layers.as_ref().and_then(|layers| layers.get(&track));
        let layers = layers.map_or(Vec::new(), |layers| layers.to_vec());
        let is_granted = |layer: &Layer| self.granted == Some((layer.encoding, layer.temporal));
        Some(Demand {
            is_speaker: speaker.is_some() && speaker == publisher.map(|it| it.participant()),
            wish: wishes.of(track),
            current: layers.iter().position(is_granted),
            layers,
        })
    }

    /// Returns whether the cost of what flows is known by its layers: of sound and of bots it is not.
    pub(super) fn is_measured(&self) -> bool {
        self.kind == TrackKind::Video && self.bot.is_none()
    }

    /// Lets what was granted flow from its next key frame on; what flowed before flows until then.
    pub(super) fn grant(&mut self, demand: &Demand, grant: Grant) {
        let layers = &demand.layers;
        let layer = grant.layer().map(|layer| layers[layer]);
        self.granted = layer.map(|layer| (layer.encoding, layer.temporal));
        match layer {
            Some(Layer { encoding, temporal, .. }) => {
                let is_higher =
                    |other: &Layer| other.encoding == encoding && other.temporal > temporal;
                // The highest of an encoding is all of it, also of layers that were not heard yet.
                let is_top = !layers.iter().any(is_higher);
                self.aim(encoding as Encoding, if is_top { u8::MAX } else { temporal });
            }
            // Nothing is known of it yet.
            None if layers.is_empty() && !demand.wish.pause => self.aim(0, u8::MAX),
            None => self.pause(),
        }
    }

    fn pause(&mut self) {
        self.aim = None;
        self.switch.pause();
    }

    fn aim(&mut self, encoding: Encoding, temporal: u8) {
        if self.aim != Some((encoding, temporal)) {
            self.aim = Some((encoding, temporal));
            self.switch.aim(encoding, temporal);
            if self.switch.waits_for().is_some() {
                self.want();
            }
        } else if self.switch.waits_for().is_some()
            && self.asked.is_none_or(|asked| now().saturating_duration_since(asked) > ASK_AGAIN)
        {
            // The publisher had no room, or was restarted.
            self.want();
        }
    }

    /// Begins anew with the next key frame.
    fn restart(&mut self) {
        self.switch.pause();
        if let Some((encoding, temporal)) = self.aim {
            self.switch.aim(encoding, temporal);
            self.want();
        }
    }

    /// Lets what flows be told once more.
    pub(super) fn retell(&mut self) {
        self.told = None;
    }

    /// Returns what is to be told of the slot, as this track is bound to it; none if it is known.
    pub(super) fn news(&mut self, bound: &TrackInfo) -> Option<MediaEvent> {
        if self.track != Some(bound.id) || self.kind != TrackKind::Video {
            return None;
        }
        let current = self.switch.current().filter(|_| !bound.muted);
        let height = |current: Encoding| {
            let layers = self.publisher.as_ref()?.layers.load();
            let mut layers = layers.get(&bound.id)?.iter();
            layers.find(|layer| layer.encoding == usize::from(current))?.height
        };
        let flow = Flow {
            state: match (current, self.aim) {
                _ if bound.muted => FlowState::Muted,
                (Some(_), _) => FlowState::Flowing,
                (None, Some(_)) => FlowState::Waiting,
                (None, None) => FlowState::Paused,
            },
            rid: current.and_then(|current| self.rids.get(usize::from(current)).copied()),
            height: current.and_then(height),
        };
        if self.told.replace(flow) == Some(flow) {
            return None;
        }
        Some(MediaEvent::SlotFlow { mid: self.mid.clone(), track: bound.clone(), flow })
    }

    /// Returns what flows, as the participant knows it; none if the slot carries no track.
    pub(super) fn facts(&self) -> Option<SlotFacts> {
        let track = self.track?;
        let bitrate = || {
            let layers = self.publisher.as_ref()?.layers.load();
            let is_granted = |it: &&Layer| self.granted == Some((it.encoding, it.temporal));
            Some(layers.get(&track)?.iter().find(is_granted)?.bitrate)
        };
        let flows = self.told.is_some_and(|told| told.state == FlowState::Flowing);
        Some(SlotFacts {
            mid: self.mid.clone(),
            track,
            flow: self.told,
            bitrate: flows.then(bitrate).flatten(),
            key_frames_wanted: self.key_frames_wanted,
            reception: self.reception,
        })
    }

    /// Asks for a key frame of what should flow.
    pub(super) fn want(&mut self) {
        let encoding = self.switch.waits_for().or(self.switch.current());
        if let (Some(track), Some(encoding), Some(publisher)) =
            (self.track, encoding, &self.publisher)
        {
            self.asked = Some(now());
            self.key_frames_wanted += 1;
            // A publisher that has no room for it has enough others.
            publisher.publisher.try_send(ToPublisher::WantKeyframe { track, encoding });
        } else if let (Some(track), Some(bot)) = (self.track, &self.bot) {
            self.asked = Some(now());
            self.key_frames_wanted += 1;
            bot.want(track);
        }
    }

    /// Asks once more for the key frame of a bot that has been lost: no publisher repeats that.
    fn ask_again(&mut self, media: &MediaPacket) {
        let since = self.asked.map(|asked| media.packet.at.saturating_duration_since(asked));
        if self.bot.is_some()
            && self.switch.waits_for() == Some(media.encoding)
            && since.is_none_or(|since| since > ASK_BOT_AGAIN)
        {
            self.want();
        }
    }

    /// Returns whether another encoding flows than the participant knows of.
    pub(super) fn has_news(&self) -> bool {
        let rid = self.switch.current().and_then(|at| self.rids.get(usize::from(at)).copied());
        let flows = self.switch.current().is_some();
        self.kind == TrackKind::Video
            && self.told.is_none_or(|told| {
                told.state != FlowState::Muted
                    && (told.rid != rid || (told.state == FlowState::Flowing) != flows)
            })
    }

    /// Returns the format in which the participant gets a packet, and its payload if that is another one: the newest
    /// frame of redundant sound for a participant that does not have that, or calls the codec of its blocks by another
    /// number.
    fn format(&self, media: &MediaPacket) -> Option<(Format, Option<Arc<[u8]>>)> {
        let of = |payload_type: u8| {
            let format = self.formats.iter().find(|(theirs, _)| *theirs == payload_type)?;
            Some(format.1)
        };
        let format = of(media.packet.payload_type);
        let Some(newest) = &media.plain else { return Some((format?, None)) };
        let plain = of(newest.payload_type)?;
        match format.filter(|_| plain.payload_type == newest.payload_type) {
            Some(format) => Some((format, None)),
            None => Some((plain, Some(Arc::clone(&newest.frame)))),
        }
    }

    /// Returns the packet as the participant gets it.
    pub(super) fn forward(&mut self, media: &MediaPacket) -> Option<RtpPacket> {
        let incoming = media.incoming();
        let flows = self.switch.current() == Some(media.encoding);
        let goes_on = self.epoch == Some(media.epoch) && self.rewriter.continues(&incoming);
        let format = self.format(media);
        let (Ok(contents), Some((Format { payload_type, clock_rate }, frame))) =
            (media.contents, format)
        else {
            if flows && goes_on {
                self.rewriter.leave_out(&incoming, true);
            }
            return None;
        };
        if flows && !goes_on && !contents.entry {
            // Pictures after a silence, or of another source, begin with a key frame.
            self.restart();
        }
        let rewritten = match self.switch.decide(media.seen(&contents)) {
            Verdict::Ignore => {
                self.ask_again(media);
                return None;
            }
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
        if let Some(frame) = frame {
            packet.payload = frame;
        }
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

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Time after which a key frame that has not come is asked for once more; the publisher repeats it by itself.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// The same of a bot whose pictures come meanwhile.
const ASK_BOT_AGAIN: Duration = Duration::from_secs(1);
