//! Facts on what a participant's actors do, for those who look after a room.

use std::time::Duration;

use callboard_peer_connection::{ReceptionReport, Rid};

use crate::core::allocate::{Bitrate, Layer};
use crate::event::{Flow, TrackId};

/// An encoding of a picture, as its publisher has measured it last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodingFacts {
    /// Track that it is of.
    pub track: TrackId,
    /// Name of the encoding; none without simulcast.
    pub rid: Option<Rid>,
    /// All of it: its highest temporal layer.
    pub layer: Layer,
}

/// What a subscriber sends to its participant, as it has said last.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SubscriberFacts {
    /// Estimated bandwidth of the path to the participant; none where it is not estimated.
    pub estimate: Option<Bitrate>,
    /// Packets that the participant's connection had no room for, since it has joined.
    pub undelivered: u64,
    /// Slots that carry a track.
    pub slots: Vec<SlotFacts>,
}

/// What flows in a slot of a subscriber.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SlotFacts {
    /// `a=mid` of the slot's section.
    pub mid: String,
    /// Track that it carries.
    pub track: TrackId,
    /// What flows of a picture; none of sound.
    pub flow: Option<Flow>,
    /// Measured bitrate of the layer that was granted; none of sound, of bots, and where nothing flows.
    pub bitrate: Option<Bitrate>,
    /// Key frames that were asked for since the slot carries the track, or the subscriber has started.
    pub key_frames_wanted: u64,
    /// What the participant has reported last of the slot's stream; none before its first report. A slot is one stream
    /// to it, of all tracks that it has carried.
    pub reception: Option<Reception>,
}

/// How a stream arrives at a participant, as that reports it about once a second (RFC 3550 §6.4.2).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reception {
    /// Share of the packets that were lost since its report before, from 0 to 1.
    pub fraction_lost: f64,
    /// Packets that were lost since the stream began. Those that were sent again count, too.
    pub packets_lost: u64,
    /// Variation of the time that packets take.
    pub jitter: Duration,
    /// Round-trip time of the path; none before it is known.
    pub round_trip_time: Option<Duration>,
}

impl From<&ReceptionReport> for Reception {
    fn from(report: &ReceptionReport) -> Self {
        let &ReceptionReport { fraction_lost, packets_lost, jitter, round_trip_time, .. } = report;
        Self { fraction_lost, packets_lost, jitter, round_trip_time }
    }
}
