//! A published track, as its publisher reads it.

use std::collections::HashMap;

use callboard_peer_connection::{Rid, RtpPacket, TrackKind};

use crate::core::keyframes::Keyframes;
use crate::core::packet::Coding;
use crate::core::speaker::{Loudness, Meter};
use crate::core::switch::Encoding;

/// A published track.
pub(super) struct Published {
    pub(super) kind: TrackKind,
    pub(super) codings: HashMap<u8, Coding>,
    /// Encodings of simulcast in the order of the offer; one without a name otherwise.
    pub(super) encodings: Vec<(Option<Rid>, Keyframes)>,
    pub(super) meter: Meter,
    /// The sender says how loud its packets are (RFC 6464).
    pub(super) is_metered: bool,
    /// Its latest packets were not forwarded on purpose.
    pub(super) is_silent: bool,
    /// Changes with each silence: viewers begin anew after it.
    pub(super) epoch: u32,
}

impl Published {
    pub(super) fn new(kind: TrackKind, codings: HashMap<u8, Coding>, epoch: u32) -> Self {
        Self {
            kind,
            codings,
            encodings: Vec::new(),
            meter: Meter::default(),
            is_metered: false,
            is_silent: false,
            epoch,
        }
    }

    /// Notes the names of the encodings that the participant has offered.
    pub(super) fn name_encodings(&mut self, names: &[Rid]) {
        let names: Vec<_> = if names.is_empty() {
            vec![None]
        } else {
            names.iter().take(MOST_ENCODINGS).map(|&name| Some(name)).collect()
        };
        if !self.encodings.iter().map(|(name, _)| name).eq(&names) {
            let new = names.into_iter().map(|name| (name, Keyframes::default()));
            self.encodings = new.collect();
        }
    }

    /// Measures how loud a packet is, if its sender says that.
    pub(super) fn measure(&mut self, packet: &RtpPacket) -> Option<Loudness> {
        let level = packet.audio_level?;
        self.is_metered = true;
        let voice = packet.extensions.voice_activity;
        self.meter.handle_level(packet.at, level.unsigned_abs(), voice)
    }

    /// Records that a viewer needs a key frame of this encoding. Sound has none.
    pub(super) fn want(&mut self, encoding: Encoding) {
        if let Some((_, keyframes)) = self.encodings.get_mut(usize::from(encoding))
            && self.kind == TrackKind::Video
        {
            keyframes.want();
        }
    }

    /// Returns the place of an encoding; none of one that was not offered.
    pub(super) fn encoding(&self, rid: Option<Rid>) -> Option<Encoding> {
        let place = self.encodings.iter().position(|(other, _)| *other == rid)?;
        Some(place as Encoding)
    }
}

/// Encodings of a track at most; browsers send three.
const MOST_ENCODINGS: usize = 8;
