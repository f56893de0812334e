//! A WebRTC peer on the server, for one user: offer and answer, candidates, and data channels by their labels.
//!
//! [`ServerPeer`] is an actor between a client's signaling and a
//! [`PeerConnection`](callboard_peer_connection::PeerConnection). Whoever controls it tells it what the client says, and
//! hears of what is to be told to the client ([`ServerPeerEvent`]). The client offers first; what the application changes later on
//! the server's side of the connection is offered to the client. Peers behind a [`Signaling`](crate::Signaling) route
//! get one by [`PeerOptions::webrtc`](crate::PeerOptions::webrtc); by itself it needs no WebSocket and no room.

mod actor;
mod channels;
mod limits;
mod webrtc;

use std::time::Duration;

use actix::prelude::*;
use callboard_peer_connection::error::{AddIceCandidateError, SetDescriptionError};
use callboard_peer_connection::{
    AnsweredSections, Api, CloseReason, Configuration, DataChannelId, DataChannelMessage,
    FailureReason, IceCandidate, IceServer, PeerConnectionState, PeerConnections,
    SessionDescription,
};

pub use actor::ServerPeer;
pub use webrtc::{WebRtc, WebRtcSession};

pub(crate) use actor::Control;
pub(crate) use channels::Channels;
pub(crate) use webrtc::Entry;

use crate::rate::{Limits, Rate};

/// The label of the channel that carries RPC.
pub const EVENTS: &str = "events";

/// How the id of a server peer in the tree begins; the id of its client's peer follows.
pub(crate) const SERVER_PEER: &str = "webrtc:";

/// Its id in the tree, beside its client's peer.
pub(crate) fn server_peer_id(peer: &callboard_room_supervisor::PeerId) -> String {
    format!("{SERVER_PEER}{peer}")
}

/// What a server peer is to be.
#[derive(Clone, Debug)]
pub struct ServerPeerOptions {
    /// The user, for logs.
    pub user_id: String,
    /// Where its connection lives.
    pub connections: PeerConnections,
    /// What its connection is made by. Default: [`Api::default`].
    pub api: Api,
    /// STUN and TURN servers and the like. Default: none.
    pub configuration: Configuration,
    /// What its client may do.
    pub limits: WebRtcLimits,
}

impl ServerPeerOptions {
    /// A peer for this user.
    pub fn new(user_id: impl Into<String>, connections: PeerConnections) -> Self {
        Self {
            user_id: user_id.into(),
            connections,
            api: Api::default(),
            configuration: Configuration::default(),
            limits: WebRtcLimits::default(),
        }
    }

    /// With these STUN and TURN servers.
    pub fn ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.configuration.ice_servers = servers.into_iter().collect();
        self
    }
}

/// What a client may do with its WebRTC connection. What is over a rate is dropped, and the client told; one that goes on has
/// its connection closed ([`Rate`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebRtcLimits {
    /// How many data channels there may be at once; one more is closed. Default: 8.
    pub channels: usize,
    /// The largest message of a data channel, in bytes, or of what takes its place: the server's descriptions say so
    /// (`a=max-message-size`, RFC 8841 §6), whatever the [`Api`] says. A larger one is dropped, and the client told; one that is
    /// larger than 512 KiB, and than what the `Api` says, ends the WebRTC connection. At least 1. Default: 256 KiB.
    pub message: u32,
    /// What comes by data channels. Default: 250 messages and 1.6 MiB in a second, 1,000 messages and 16 MiB at once.
    pub data: Rate,
    /// Candidates. Default: 5 in a second, 150 at once.
    pub candidates: Rate,
    /// Offers and answers, over all connections of a client. Default: one in a second, 30 at once; 256 KiB in a second, 8 MiB at once.
    pub offers: Rate,
    /// How many sections of media an offer or answer may have; one with more is refused before a connection is opened for it.
    /// More than [`ApiSettings::max_sections`](callboard_peer_connection::ApiSettings::max_sections) are refused in any
    /// case. Default: 64.
    pub sections: usize,
    /// What the offers and answers of one client may cost, over all its connections. Default: 256 sections at once, then 32 in a second:
    /// a hundredth of a core.
    pub descriptions: DescriptionBudget,
    /// What the offers and answers of all clients of one address may cost together (of one /64 for IPv6). Default: 8,192 sections at
    /// once, then 512 in a second: a sixth of a core.
    pub descriptions_per_address: DescriptionBudget,
    /// How long it may take to answer an offer. Default: 10 s.
    pub answer_timeout: Duration,
    /// How long the client may take to answer an offer of the server's; after that the offer is taken back
    /// ([`ServerPeerEvent::Unanswered`]), and the connection goes on as it was. Default: 30 s.
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

/// What descriptions may cost, in sections of media: a section takes about 0.3 ms of CPU time, and 6 KiB of text count as
/// one. An offer that is over it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptionBudget {
    /// How many at once.
    pub burst: u32,
    /// How many come back in a second.
    pub per_second: u32,
}

impl DescriptionBudget {
    /// No limit at all, for measuring and for clients one trusts.
    pub const UNLIMITED: Self = Self { burst: u32::MAX, per_second: 1_000_000_000 };

    pub(crate) fn every(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// The client offers: the first time to connect, and later to renegotiate, or, from a connection of its own that is
/// another one, to connect anew. The answer comes as [`ServerPeerEvent::Answer`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), HandleOfferError>")]
pub struct HandleOffer(pub SessionDescription);

/// The client answers the server's offer, [`ServerPeerEvent::Offer`]. One that cannot be used leaves the offer open.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), HandleAnswerError>")]
pub struct HandleAnswer(pub SessionDescription);

/// The client has found a candidate; none says that there are no more.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), AddCandidateError>")]
pub struct AddCandidate(pub Option<IceCandidate>);

/// Send to the client on the data channel of this label.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendDataError>")]
pub struct SendToChannel {
    /// The channel's label.
    pub label: String,
    /// What.
    pub message: DataChannelMessage,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PeerConnectionState")]
pub struct ConnectionState;

/// Close the connection, and end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// What the one who controls a server peer hears.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ServerPeerEvent {
    /// For the client: the answer to its offer.
    Answer(SessionDescription),
    /// For the client: the application has changed the server's side of the connection (W3C `negotiationneeded`), which it reaches by
    /// [`PeerRef::connection`](crate::PeerRef::connection): it has added a track, a transceiver or the first data channel, or wants
    /// ICE restarted. The client answers ([`HandleAnswer`]), or, if it has just offered itself, leaves this one alone: its
    /// offer takes the place of this one, and what this one was about is offered again after the answer.
    Offer(SessionDescription),
    /// The client has not answered an offer within [`WebRtcLimits::offer_timeout`]: it is taken back, and the connection goes on
    /// as it was. There is another one after the next offer of the client's.
    Unanswered,
    /// For the client: a candidate of the server's; none says that there are no more.
    Ice(Option<IceCandidate>),
    /// A data channel is open.
    ChannelOpen {
        /// Which it is.
        id: DataChannelId,
        /// Its label.
        label: String,
    },
    /// A data channel is closed.
    ChannelClosed {
        /// Which it was.
        id: DataChannelId,
        /// Its label.
        label: String,
    },
    /// A message came.
    Data {
        /// On the channel of this label.
        label: String,
        /// It.
        message: DataChannelMessage,
    },
    /// How the connection is now.
    ConnectionState(PeerConnectionState),
    /// Why the connection has failed; [`Self::ConnectionState`] follows.
    Failed(FailureReason),
    /// Why there is no connection any more; [`Self::ConnectionState`] follows, and nothing else.
    Closed(EndReason),
    /// A message that is larger than [`WebRtcLimits::message`] came, and goes no further.
    TooLarge {
        /// On the channel of this label.
        label: String,
        /// The message.
        message: DataChannelMessage,
    },
    /// The client does more than it may, and what it does is dropped.
    Refused(Refusal),
}

/// What a client does more of than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More messages than [`WebRtcLimits::data`].
    #[error("rate_limited")]
    RateLimited,
    /// More data channels than [`WebRtcLimits::channels`].
    #[error("too_many_channels")]
    TooManyChannels,
}

/// Why the connection of a server peer has failed or is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The client or the application has said [`Close`], or the actor that controlled it is gone.
    #[error("closed")]
    Closed,
    /// The client did more than it may, and went on.
    #[error("rate_limited")]
    RateLimited,
    /// The connection has ended, or has failed ([`CloseReason::Failed`]), or its server peer has
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
    /// Returns whether one of the two sides has closed it, as it may at any time: there is nothing to explain.
    pub fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Connection(CloseReason::Closed | CloseReason::ClosedByPeer)
        )
    }
}

/// Why an offer was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleOfferError {
    /// More than [`WebRtcLimits::offers`].
    #[error("rate_limited")]
    RateLimited,
    /// More than [`WebRtcLimits::descriptions`], or [`WebRtcLimits::descriptions_per_address`].
    #[error("rate_limited")]
    OverBudget {
        /// When it may be tried again.
        wait: Duration,
    },
    /// It is no offer.
    #[error("bad_description")]
    NotAnOffer,
    /// It cannot be used.
    #[error("bad_description")]
    Description(#[from] SetDescriptionError),
    /// Nothing of what it asks for can be taken: which sections there are, and why each is rejected.
    #[error("bad_description")]
    NothingUsable(AnsweredSections),
    /// There is no connection to be had.
    #[error("unavailable")]
    Unavailable,
    /// It took too long.
    #[error("timeout")]
    TimedOut,
}

impl HandleOfferError {
    /// Returns what is wrong with the description, how long to wait, or what is not to be had.
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

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleAnswerError {
    /// No offer is open: there was none, or it was taken back, or has made way for one of the client's.
    #[error("unexpected_answer")]
    Unexpected,
    /// It is no answer.
    #[error("bad_description")]
    NotAnAnswer,
    /// It is refused as an offer would be.
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

/// Why a candidate was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddCandidateError {
    /// There was no offer yet.
    #[error("no_webrtc_session")]
    NoSession,
    /// More than [`WebRtcLimits::candidates`].
    #[error("ice_rate_limited")]
    RateLimited,
    /// It cannot be used.
    #[error("bad_candidate")]
    Candidate(#[from] AddIceCandidateError),
}

/// Why something was not sent to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendDataError {
    /// There is no open channel of this label.
    #[error("there is no open channel {0:?}")]
    NoChannel(String),
    /// Bytes can be sent by a data channel alone, and there is none.
    #[error("bytes need a data channel")]
    NeedsChannel,
    /// The connection has too much to do, or its channel too much to send.
    #[error("too much waits to be sent")]
    Busy,
    /// The channel does not take it.
    #[error(transparent)]
    Channel(callboard_peer_connection::error::SendDataError),
    /// The client is gone.
    #[error("the client is gone")]
    Gone,
}
