//! A published track, as its publisher reads it.

use std::collections::HashMap;
use std::time::Instant;

use callboard_peer_connection::{Rid, RtpPacket, TrackKind};

use crate::core::allocate::{Layer, Wish};
use crate::core::hold::Frames;
use crate::core::keyframes::Keyframes;
use crate::core::layers::{self, Layers, OVERHEAD};
use crate::core::packet::{Coding, Contents};
use crate::core::speaker::{Loudness, Meter};
use crate::core::switch::Encoding;
use crate::event::TrackInfo;
use crate::shared::KnownEncodings;

/// A published track.
pub(super) struct Published {
    pub(super) kind: TrackKind,
    /// `a=mid` of its section.
    pub(super) mid: String,
    pub(super) codings: HashMap<u8, Coding>,
    /// Encodings of simulcast in the order of the offer; one without a name otherwise.
    pub(super) encodings: Vec<PublishedEncoding>,
    /// Which of them are heard, what they cost, and which of them viewers want.
    pub(super) layers: Layers,
    /// Wishes of its viewers.
    wishes: Vec<Wish>,
    /// Which encodings the participant was told to send; none before it was told at all.
    told: Option<Vec<(Rid, bool)>>,
    meter: Meter,
    /// The sender says how loud its packets are (RFC 6464).
    pub(super) is_metered: bool,
    /// Its latest packets were not forwarded on purpose.
    pub(super) is_silent: bool,
    /// Changes with each silence: viewers begin anew after it.
    pub(super) epoch: u32,
}

/// Encoding of a published track.
pub(super) struct PublishedEncoding {
    pub(super) rid: Option<Rid>,
    pub(super) keyframes: Keyframes,
    pub(super) frames: Frames,
}

impl Published {
    pub(super) fn new(info: &TrackInfo, codings: HashMap<u8, Coding>, epoch: u32) -> Self {
        Self {
            kind: info.kind,
            mid: info.mid.clone(),
            codings,
            encodings: Vec::new(),
            layers: Layers::new(0),
            wishes: Vec::new(),
            told: None,
            meter: Meter::default(),
            is_metered: false,
            is_silent: false,
            epoch,
        }
    }

    /// Sets the codings of the payload types.
    pub(super) fn with_codings(self, codings: HashMap<u8, Coding>) -> Self {
        Self { codings, ..self }
    }

    /// Notes the names of the encodings that the participant has offered.
    pub(super) fn name_encodings(&mut self, names: &[Rid]) {
        let names: Vec<_> = if names.is_empty() {
            vec![None]
        } else {
            names.iter().take(MOST_ENCODINGS).map(|&name| Some(name)).collect()
        };
        if !self.encodings.iter().map(|it| &it.rid).eq(&names) {
            self.layers = Layers::new(names.len());
            let new = names.into_iter().map(|rid| PublishedEncoding {
                rid,
                keyframes: Keyframes::default(),
                frames: Frames::default(),
            });
            self.encodings = new.collect();
        }
    }

    /// Returns what another publisher of the track should know of its encodings.
    pub(super) fn known(&self) -> KnownEncodings {
        self.encodings.iter().map(|it| it.rid).zip(self.layers.known()).collect()
    }

    /// Goes on with what an earlier publisher knew, if the track has the same encodings.
    pub(super) fn resume(&mut self, known: &KnownEncodings) {
        if self.encodings.iter().map(|it| it.rid).eq(known.iter().map(|(rid, _)| *rid)) {
            self.layers = Layers::resume(known.iter().map(|(_, known)| *known));
            let told = known.iter().map(|&(rid, known)| Some((rid?, known.is_wanted)));
            self.told = told.collect();
        }
    }

    /// Measures how loud a packet is, if its sender says that.
    pub(super) fn measure(&mut self, packet: &RtpPacket) -> Option<Loudness> {
        let level = packet.audio_level?;
        self.is_metered = true;
        let voice = packet.extensions.voice_activity;
        self.meter.handle_level(packet.at, level.unsigned_abs(), voice)
    }

    /// Measures the encoding of a packet of video.
    pub(super) fn count(&mut self, encoding: Encoding, packet: &RtpPacket, contents: &Contents) {
        let measured = layers::Packet {
            encoding: encoding.into(),
            temporal: contents.temporal,
            bytes: packet.payload.len() + OVERHEAD,
            ends_frame: packet.marker,
            height: contents.size.map(|(_, height)| height.into()),
        };
        self.layers.handle_packet(packet.at, measured);
    }

    /// Records that a viewer needs a key frame of this encoding. Sound has none.
    pub(super) fn want(&mut self, encoding: Encoding) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding))
            && self.kind == TrackKind::Video
        {
            encoding.keyframes.want();
        }
    }

    /// Returns the place of an encoding; none of one that was not offered.
    pub(super) fn encoding(&self, rid: Option<Rid>) -> Option<Encoding> {
        let place = self.encodings.iter().position(|other| other.rid == rid)?;
        Some(place as Encoding)
    }

    /// Sets the wishes of its viewers.
    pub(super) fn wish(&mut self, wishes: Vec<Wish>) {
        self.wishes = wishes;
    }

    /// Finds which encodings these wishes need, by the heights that are known by now. Taps need all.
    pub(super) fn consider_wishes(&mut self, now: Instant, is_tapped: bool) {
        let all = is_tapped.then(Wish::default);
        self.layers.handle_wishes(now, self.wishes.iter().copied().chain(all));
    }

    /// Takes what has changed of its layers. Returns whether other ones are heard than before.
    pub(super) fn poll_layers(&mut self, now: Instant) -> bool {
        self.layers.handle_timeout(now);
        let mut is_other = false;
        while let Some(output) = self.layers.poll_output() {
            is_other |= output != layers::Output::WantedChanged;
            match output {
                // Wishes are of heights, which key frames tell.
                layers::Output::Appeared { encoding }
                    if self.encodings.len() > 1 && self.layers.height(encoding).is_none() =>
                {
                    self.want(encoding as Encoding);
                }
                // It is asked for no more.
                layers::Output::Gone { encoding } => self.encodings[encoding].keyframes.came(),
                _ => {}
            }
        }
        is_other
    }

    /// Lets the participant be told once more.
    pub(super) fn retell(&mut self) {
        self.told = None;
    }

    /// Returns which encodings of simulcast the participant should send, if it was told otherwise or nothing.
    pub(super) fn tell_wanted(&mut self) -> Option<Vec<(Rid, bool)>> {
        let rids = self.encodings.iter().enumerate();
        let wanted: Vec<_> =
            rids.filter_map(|(at, it)| Some((it.rid?, self.layers.is_wanted(at)))).collect();
        if wanted.is_empty() || self.told.as_ref() == Some(&wanted) {
            return None;
        }
        self.told = Some(wanted.clone());
        Some(wanted)
    }

    /// Returns the layers that are heard.
    pub(super) fn heard(&self) -> Vec<Layer> {
        let mut heard = Vec::new();
        self.layers.list(&mut heard);
        heard
    }
}

/// Encodings of a track at most; browsers send three.
const MOST_ENCODINGS: usize = 8;
