//! Events of a media room, and what they name.

use std::fmt;
use std::sync::Arc;

use actix::prelude::*;
use callboard_peer_connection::{PeerConnectionId, Rid, TrackKind, TransceiverId};

/// Identifier of a participant of a media room: that of its peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub PeerConnectionId);

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifier of a published track: that of the transceiver that receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub TransceiverId);

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A published track.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackInfo {
    /// Identifier of the track.
    pub id: TrackId,
    /// Participant that publishes it.
    pub participant: ParticipantId,
    /// Name with which the participant has joined.
    pub name: Arc<str>,
    /// `a=mid` of its section at the publisher.
    pub mid: String,
    /// Audio or video.
    pub kind: TrackKind,
    /// Whether the application or its participant has muted it: nothing of it is forwarded.
    pub muted: bool,
    /// What it shows or plays, if its participant has [said](crate::Participant::describe) that.
    pub source: Option<TrackSource>,
    /// What else its participant has said of it, in a form of the application's.
    pub metadata: Option<Arc<str>>,
}

/// What a track shows or plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackSource {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A screen or window, or its sound.
    Screen,
}

/// What a participant says of a track of its own, for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackDescription {
    /// `a=mid` of its section in the participant's offer.
    pub mid: String,
    /// What it shows or plays.
    pub source: Option<TrackSource>,
    /// Anything else, in a form of the application's.
    pub metadata: Option<Arc<str>>,
    /// Whether it is muted from the beginning. One that is published already stays as it is.
    pub muted: bool,
}

/// Participant that speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Speaker {
    /// Its identifier.
    pub participant: ParticipantId,
    /// Name with which it has joined.
    pub name: Arc<str>,
}

/// What flows in a slot of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// Whether anything does.
    pub state: FlowState,
    /// Encoding of simulcast that flows; none if nothing does, or without simulcast.
    pub rid: Option<Rid>,
    /// Height in pixels of what flows; none if nothing does, or if the codec does not tell.
    pub height: Option<u32>,
}

/// State of a slot of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowState {
    /// The track flows, in one of its encodings.
    Flowing,
    /// Nothing flows until the next key frame.
    Waiting,
    /// Nothing flows, because the participant [wishes](crate::Wishes) so or there is no bandwidth for it.
    Paused,
    /// The application has muted the track.
    Muted,
}

/// Event of a media room, for the application of one participant. Events come in the order in which they happened;
/// after a restart of the room's actor, bindings are told once more.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct ParticipantEvent {
    /// Participant that is told.
    pub participant: ParticipantId,
    /// The event.
    pub event: MediaEvent,
}

/// Event of a media room, without its participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaEvent {
    /// Another participant publishes a track.
    TrackAdded(TrackInfo),
    /// The participant of a track says something else of it than before. The publisher is told as well.
    TrackChanged(TrackInfo),
    /// The application or its participant has muted a track, or lets it be heard and seen again. The publisher is told
    /// as well.
    TrackMuted(TrackId, bool),
    /// The application has [muted](crate::MediaRoom::mute) a track of this participant, or lets it be heard and seen
    /// again, as far as the participant does. Told to it alone. A track of a later connection is another one, and not
    /// muted.
    OwnTrackMuted {
        /// The track.
        track: TrackId,
        /// `a=mid` of its section.
        mid: String,
        /// Whether it is muted from now on.
        muted: bool,
    },
    /// A track is published no more.
    TrackRemoved(TrackId),
    /// These are all tracks that others publish. Told when everything is told [once more](crate::Participant::restate).
    Tracks(Vec<TrackInfo>),
    /// The room's [policy](crate::MediaPolicy) does not let this participant publish: nothing of this section is
    /// forwarded.
    Refused {
        /// `a=mid` of the section in which it sends.
        mid: String,
        /// Audio or video.
        kind: TrackKind,
    },
    /// A slot carries this track from now on.
    SlotBound {
        /// `a=mid` of the slot's section.
        mid: String,
        /// The track.
        track: TrackInfo,
    },
    /// A slot carries nothing from now on. Told before anything else is bound to it.
    SlotUnbound {
        /// `a=mid` of the slot's section.
        mid: String,
    },
    /// A slot of video carries another encoding of its track than before, or begins or ends to carry anything. Told at
    /// most ten times a second.
    SlotFlow {
        /// `a=mid` of the slot's section.
        mid: String,
        /// The track, which is bound to the slot.
        track: TrackInfo,
        /// What flows.
        flow: Flow,
    },
    /// Which encodings of simulcast this participant should send of a track of its own. Told once for each such track
    /// when it is published, and then whenever that changes: an encoding that no viewer has wished for 5 s, by
    /// its [`Wishes`](crate::Wishes), need not be sent; it is wanted again as soon as one does.
    LayersWanted {
        /// The track.
        track: TrackId,
        /// `a=mid` of its section.
        mid: String,
        /// Each encoding in the order of the offer, and whether it is wanted.
        rids: Vec<(Rid, bool)>,
    },
    /// Others speak than before, or more or less loudly. Told at most twice a second.
    Speakers {
        /// Participant that dominates the conversation: also while no one speaks.
        dominant: Option<Speaker>,
        /// Participants that speak, the loudest first, at most five, with their levels in dBov: 0 is the loudest, −127
        /// silence (RFC 6464).
        loudest: Vec<(Speaker, i8)>,
    },
    /// The media of this participant has failed too often, or its supervisor has, and was given up. Joining anew begins
    /// it again.
    Failed,
}
