//! A WebRTC peer on the server, for one user: offer and answer, candidates, and data channels by their labels.
//!
//! [`ServerPeer`] is an actor between a client's signaling and a
//! [`PeerConnection`](callboard_peer_connection::PeerConnection). Its controller passes on what the client says, and
//! gets what the client must be told as [`ServerPeerEvent`]s. The client offers first; later changes by the application
//! on the server's side of the peer connection are offered to the client. Peers behind a
//! [`Signaling`](crate::Signaling) route get one by [`PeerOptions::webrtc`](crate::PeerOptions::webrtc); on its own it
//! needs neither a WebSocket nor a room.

mod actor;
mod channels;
mod media;
mod tracks;
mod usage;
mod webrtc;

use std::time::Duration;

use actix::prelude::*;
use callboard_media_rooms::{AcceptMediaOfferError, MediaEvent, TrackDescription, Wishes};
use callboard_peer_connection::error::{
    AcceptOfferError, AddIceCandidateError, SetDescriptionError,
};
use callboard_peer_connection::{
    AnsweredSections, Api, CloseReason, Configuration, DataChannelId, DataChannelMessage,
    FailureReason, IceCandidate, IceServer, OWNER_PREFIX, PeerConnectionState, PeerConnections,
    SessionDescription,
};
use callboard_websocket::Rate;

pub use actor::{ServerPeer, ServerPeerHandle};
pub use channels::{EVENTS, SendToChannelError};
pub use tracks::{
    AddServerTrackError, ClientTrack, KeyframeRequest, ServerTrack, WaitingSamples, WriteTrackError,
};
pub use webrtc::{WebRtc, WebRtcSession};

pub(crate) use actor::{Control, Controller};
pub(crate) use channels::Channels;
pub(crate) use media::{MediaRooms, MediaSeat};
pub(crate) use tracks::Tracks;
pub(crate) use webrtc::{Entry, MediaOwner};

use crate::limits::Limits;

/// Returns the id of a server peer in the tree, beside its client's peer.
pub(crate) fn server_peer_id(peer: &callboard_room_supervisor::PeerId) -> String {
    format!("{OWNER_PREFIX}{peer}")
}

/// Options of a server peer.
#[derive(Clone, Debug)]
pub struct ServerPeerOptions {
    /// User id, for logs.
    pub user_id: String,
    /// Pool in which its peer connection runs.
    pub connections: PeerConnections,
    /// API that creates its peer connection. Default: [`Api::default`].
    pub api: Api,
    /// Configuration of its peer connection, such as STUN and TURN servers. Default: none.
    pub configuration: Configuration,
    /// Limits of its client.
    pub limits: WebRtcLimits,
}

impl ServerPeerOptions {
    /// Creates options for a server peer of this user.
    pub fn new(user_id: impl Into<String>, connections: PeerConnections) -> Self {
        Self {
            user_id: user_id.into(),
            connections,
            api: Api::default(),
            configuration: Configuration::default(),
            limits: WebRtcLimits::default(),
        }
    }

    /// Sets the STUN and TURN servers.
    pub fn ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.configuration.ice_servers = servers.into_iter().collect();
        self
    }
}

/// Limits of a client's peer connection. Messages over a rate are dropped, and the client is warned; a client that goes
/// on has its peer connection closed ([`Rate`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebRtcLimits {
    /// Maximum number of data channels at once; one more is closed. Default: 8.
    pub channels: usize,
    /// Largest message of a data channel or in place of one, in bytes. The server's descriptions announce it
    /// (`a=max-message-size`, RFC 8841 §6), regardless of the [`Api`]'s setting. A larger message is dropped, and the
    /// client is told; one that is larger than 512 KiB and than the `Api`'s setting ends the peer connection. At least
    /// 1. Default: 256 KiB.
    pub message: u32,
    /// Rate limit of data channels. Default: 250 messages and 1.6 MiB per second, with bursts of 1,000 messages and 16
    /// MiB.
    pub data: Rate,
    /// Rate limit of candidates. Default: 5 per second, with bursts of 150.
    pub candidates: Rate,
    /// Rate limit of offers and answers, over all peer connections of a client. Default: one and 256 KiB per second,
    /// with bursts of 30 and 8 MiB.
    pub offers: Rate,
    /// Maximum number of media sections in an offer or answer; one with more is refused before a peer connection is
    /// opened for it. More than [`ApiSettings::max_sections`](callboard_peer_connection::ApiSettings::max_sections) are
    /// refused in any case. Default: 64.
    pub sections: usize,
    /// Budget for the offers and answers of one client, over all its peer connections. Default: 256 sections at once,
    /// then 32 per second: a hundredth of a core.
    pub descriptions: DescriptionBudget,
    /// Budget for the offers and answers of all clients of one address together (of one /64 for IPv6). Default: 8,192
    /// sections at once, then 512 per second: a sixth of a core.
    pub descriptions_per_address: DescriptionBudget,
    /// Time limit for answering an offer. Default: 10 s.
    pub answer_timeout: Duration,
    /// Time that the client has to answer an offer of the server; after that the offer is rolled back
    /// ([`ServerPeerEvent::Unanswered`]), and the peer connection goes on as it was. Default: 30 s.
    pub offer_timeout: Duration,
}

impl Default for WebRtcLimits {
    fn default() -> Self {
        let rate = |messages_per_second, burst_messages, bytes_per_second, burst_bytes| Rate {
            messages_per_second,
            burst_messages,
            bytes_per_second,
            burst_bytes,
        };
        Self {
            channels: 8,
            message: 256 << 10,
            data: Limits::default().data_channels,
            candidates: rate(5, 150, 32 << 10, 1 << 20),
            offers: rate(1, 30, 256 << 10, 8 << 20),
            sections: 64,
            descriptions: DescriptionBudget { burst: 256, per_second: 32 },
            descriptions_per_address: DescriptionBudget { burst: 8_192, per_second: 512 },
            answer_timeout: Duration::from_secs(10),
            offer_timeout: Duration::from_secs(30),
        }
    }
}

/// Budget for descriptions, in media sections: a section takes about 0.3 ms of CPU time, and 6 KiB of text count as
/// one. An offer that exceeds it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptionBudget {
    /// Sections at once.
    pub burst: u32,
    /// Sections that are regained per second.
    pub per_second: u32,
}

impl DescriptionBudget {
    /// No limit at all, for benchmarks and for trusted clients.
    pub const UNLIMITED: Self = Self { burst: u32::MAX, per_second: 1_000_000_000 };

    pub(crate) fn every(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// An offer of the client: the first one connects, a later one renegotiates, or, if it is from another peer
/// connection of the client, connects anew. The answer comes as [`ServerPeerEvent::Answer`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), HandleOfferError>")]
pub struct HandleOffer(pub SessionDescription);

/// The client's answer to the server's offer, [`ServerPeerEvent::Offer`]. An unusable answer leaves the offer
/// open.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), HandleAnswerError>")]
pub struct HandleAnswer(pub SessionDescription);

/// What the client says of the tracks that its next offers publish, in place of all that it has said before.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DescribeTracks(pub(crate) Vec<TrackDescription>);

/// The client may have missed some of what it was told of the media in its room.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RestateMedia;

/// A track of the client's is muted by itself, or no longer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), MuteTrackError>")]
pub(crate) struct MuteTrack {
    /// `a=mid` of its section.
    pub(crate) mid: String,
    pub(crate) muted: bool,
}

/// Reason why a track is not muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MuteTrackError {
    #[error("no_such_track")]
    NoSuchTrack,
    #[error("rate_limited")]
    RateLimited,
}

/// A candidate of the client; none marks the end of candidates.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), AddCandidateError>")]
pub struct AddCandidate(pub Option<IceCandidate>);

/// What the client wishes to receive of its room's media ([`WebRtc::media`]), in place of all its earlier wishes; also
/// over peer connections that replace this one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), HandleWishesError>")]
pub struct HandleWishes(pub Wishes);

/// A message to the client, on the data channel with this label.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendToChannelError>")]
pub struct SendToChannel {
    /// Label of the data channel.
    pub label: String,
    /// Message to send.
    pub message: DataChannelMessage,
}

/// Query for the state of the peer connection.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PeerConnectionState")]
pub struct ConnectionState;

/// Command to close the peer connection and end the server peer.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CloseServerPeer;

/// Event of a server peer, for its controller.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ServerPeerEvent {
    /// For the client: the answer to its offer.
    Answer(SessionDescription),
    /// For the client: an offer of the server. The application has changed the server's side of the peer connection
    /// (W3C `negotiationneeded`), which it reaches by [`PeerRef::connection`](crate::PeerRef::connection): it has added
    /// a track, a transceiver or the first data channel, or wants ICE restarted. The client answers ([`HandleAnswer`]),
    /// or ignores this offer if it has just sent its own: that one replaces it, and the server's changes are offered
    /// again after the answer.
    Offer(SessionDescription),
    /// The client has not answered an offer within [`WebRtcLimits::offer_timeout`]: the offer is rolled back, and the
    /// peer connection goes on as it was. The server offers again after the client's next offer.
    Unanswered,
    /// For the client: news of its room's media ([`WebRtc::media`]).
    Media(MediaEvent),
    /// For the client: a candidate of the server; none marks the end of candidates.
    Ice(Option<IceCandidate>),
    /// A data channel has opened.
    ChannelOpen {
        /// Id of the channel.
        id: DataChannelId,
        /// Label of the channel.
        label: String,
    },
    /// A data channel has closed.
    ChannelClosed {
        /// Id of the channel.
        id: DataChannelId,
        /// Label of the channel.
        label: String,
    },
    /// A message has arrived.
    Data {
        /// Label of its channel.
        label: String,
        /// The message.
        message: DataChannelMessage,
    },
    /// The client sends this track from now on. A new controller is told all tracks that there are.
    TrackAdded(ClientTrack),
    /// The client sends this track no more, or has another peer connection.
    TrackRemoved(ClientTrack),
    /// Frames of the client's tracks wait: [taken](WaitingSamples::take) or lost.
    Samples(WaitingSamples),
    /// The client needs a key frame of a track that is sent to it.
    KeyframeRequested(KeyframeRequest),
    /// The state of the peer connection has changed to this one.
    ConnectionState(PeerConnectionState),
    /// The peer connection has failed for this reason; [`Self::ConnectionState`] follows.
    Failed(FailureReason),
    /// The peer connection is over for this reason; [`Self::ConnectionState`] follows, and nothing else.
    Closed(EndReason),
    /// A message larger than [`WebRtcLimits::message`] has arrived, and was dropped.
    TooLarge {
        /// Label of its channel.
        label: String,
        /// The message.
        message: DataChannelMessage,
    },
    /// The client has exceeded a limit, and its messages or channels are dropped.
    Refused(LimitExceededError),
}

/// Limit that a client has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitExceededError {
    /// More messages than [`WebRtcLimits::data`].
    #[error("rate_limited")]
    RateLimited,
    /// More data channels than [`WebRtcLimits::channels`].
    #[error("too_many_channels")]
    TooManyChannels,
}

/// Reason why the peer connection of a server peer has failed or is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The client or the application has sent [`CloseServerPeer`], or the actor that controlled it is gone.
    #[error("closed")]
    Closed,
    /// The client went on exceeding a limit.
    #[error("rate_limited")]
    RateLimited,
    /// The peer connection has ended, or has failed ([`CloseReason::Failed`]), or its server peer has stopped
    /// ([`CloseReason::Stopped`]).
    #[error(transparent)]
    Connection(#[from] CloseReason),
}

impl From<FailureReason> for EndReason {
    fn from(reason: FailureReason) -> Self {
        CloseReason::Failed(reason).into()
    }
}

impl EndReason {
    /// Returns whether one side has closed it normally, so that there is nothing to explain.
    pub fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Connection(CloseReason::Closed | CloseReason::ClosedByPeer)
        )
    }
}

/// Reason why an offer was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleOfferError {
    /// Over the rate [`WebRtcLimits::offers`].
    #[error("rate_limited")]
    RateLimited,
    /// Over the budget [`WebRtcLimits::descriptions`], or [`WebRtcLimits::descriptions_per_address`].
    #[error("rate_limited")]
    OverBudget {
        /// Time until another attempt can succeed.
        wait: Duration,
    },
    /// The description is not an offer.
    #[error("bad_description")]
    NotAnOffer,
    /// The description cannot be used.
    #[error("bad_description")]
    Description(#[from] SetDescriptionError),
    /// Nothing that it asks for can be accepted; holds its sections, and why each is rejected.
    #[error("bad_description")]
    NothingUsable(AnsweredSections),
    /// No peer connection is available.
    #[error("unavailable")]
    Unavailable,
    /// The answer took too long.
    #[error("timeout")]
    TimedOut,
}

impl From<AcceptOfferError> for HandleOfferError {
    fn from(error: AcceptOfferError) -> Self {
        match error {
            AcceptOfferError::Offer(error) | AcceptOfferError::Answer(error) => error.into(),
            _ => Self::NotAnOffer,
        }
    }
}

impl From<AcceptMediaOfferError> for HandleOfferError {
    fn from(error: AcceptMediaOfferError) -> Self {
        match error {
            AcceptMediaOfferError::Description(error) => error.into(),
            _ => Self::Unavailable,
        }
    }
}

impl HandleOfferError {
    /// Returns what is wrong with the description, how long to wait, or what is unavailable.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Description(why) => Some(why.to_string()),
            Self::NothingUsable(sections) => {
                Some(format!("nothing in the offer can be used: {sections}"))
            }
            Self::OverBudget { wait } => Some(format!(
                "descriptions of too many sections; again in {:.1} s",
                wait.as_secs_f64()
            )),
            Self::NotAnOffer => Some("the type is not \"offer\"".to_owned()),
            Self::Unavailable => Some("no connection could be opened".to_owned()),
            Self::RateLimited | Self::TimedOut => None,
        }
    }
}

/// Reason why an answer was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleAnswerError {
    /// No offer is open: there was none, or it was rolled back, or replaced by one of the client's.
    #[error("unexpected_answer")]
    Unexpected,
    /// The description is not an answer.
    #[error("bad_description")]
    NotAnAnswer,
    /// Refusal for the same reasons as of an offer.
    #[error(transparent)]
    Refused(#[from] HandleOfferError),
}

impl HandleAnswerError {
    /// Returns what is wrong with the answer, or how long to wait.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Unexpected => Some("no offer is open".to_owned()),
            Self::NotAnAnswer => Some("the type is not \"answer\"".to_owned()),
            Self::Refused(error) => error.detail(),
        }
    }
}

/// Reason why wishes were not accepted; those before stay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleWishesError {
    /// The room has no media of its own.
    #[error("media_disabled")]
    Disabled,
    /// Wishes for more than [`Wishes::MOST_TRACKS`] tracks.
    #[error("bad_wish")]
    TooMany,
}

impl HandleWishesError {
    /// Returns what is wrong with the wishes.
    pub fn detail(&self) -> Option<String> {
        let many = || format!("wishes for more than {} tracks", Wishes::MOST_TRACKS);
        (*self == Self::TooMany).then(many)
    }
}

/// Reason why a candidate was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddCandidateError {
    /// There has been no offer yet.
    #[error("no_webrtc_session")]
    NoSession,
    /// Over the rate [`WebRtcLimits::candidates`].
    #[error("ice_rate_limited")]
    RateLimited,
    /// The candidate cannot be used.
    #[error("bad_candidate")]
    Candidate(#[from] AddIceCandidateError),
}
