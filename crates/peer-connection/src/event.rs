//! What a connection tells its owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::handshake::{HandshakeError, Role, SrtpProfile, Version};
use callboard_transport::gather::CandidateError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::IceCandidate;
use crate::channels::{DataChannelId, DataChannelInfo};
use crate::media::*;
use crate::sctp::SctpViolation;
use crate::state::*;

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerConnectionId(pub Uuid);

impl fmt::Display for PeerConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a connection tells its owner, in the order in which it happened.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct PeerConnectionEvent {
    /// Whose it is.
    pub connection: PeerConnectionId,
    /// What happened.
    pub event: ConnectionEvent,
}

/// What can happen to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// An offer should be made. Told once for each need (W3C `negotiationneeded`).
    NegotiationNeeded,
    /// For the peer (W3C `icecandidate`). An empty one says that there are no more of this generation; none, that
    /// gathering is complete.
    IceCandidate(Option<IceCandidate>),
    /// A server gave no candidate (W3C `icecandidateerror`).
    IceCandidateError(CandidateError),
    /// W3C `signalingstatechange`
    SignalingStateChange(SignalingState),
    /// W3C `icegatheringstatechange`
    IceGatheringStateChange(IceGatheringState),
    /// W3C `iceconnectionstatechange`
    IceConnectionStateChange(IceConnectionState),
    /// W3C `connectionstatechange`
    ConnectionStateChange(PeerConnectionState),
    /// DTLS is complete, and this was negotiated.
    HandshakeFinished {
        /// Of DTLS.
        version: Version,
        /// This side's.
        role: Role,
        /// None if the peer does not speak SRTP: data channels work, media does not.
        srtp_profile: Option<SrtpProfile>,
    },
    /// The peer sends something from now on (W3C `track`).
    TrackAdded {
        /// Through which transceiver.
        transceiver: TransceiverId,
        /// What.
        kind: TrackKind,
        /// The identification of its section.
        mid: String,
        /// The peer's name for it.
        track: String,
        /// The streams to which it belongs.
        streams: Vec<String>,
    },
    /// The peer sends it no more (W3C `mute`, and `removetrack` of its streams).
    TrackRemoved {
        /// Through which transceiver it came.
        transceiver: TransceiverId,
    },
    /// Either side has stopped it.
    TransceiverStopped {
        /// Which.
        transceiver: TransceiverId,
    },
    /// A frame came.
    Sample(ReceivedSample),
    /// A packet came; of connections in RTP mode.
    Packet(RtpPacket),
    /// The peer wants a key frame of what is sent to it.
    KeyframeRequested {
        /// By which transceiver it is sent.
        transceiver: TransceiverId,
        /// Which encoding of simulcast.
        rid: Option<Rid>,
        /// How it was asked for.
        kind: KeyframeRequestKind,
    },
    /// An encoding has not come for 1.5 s, or comes again.
    EncodingPaused {
        /// Through which transceiver.
        transceiver: TransceiverId,
        /// Which encoding of simulcast.
        rid: Option<Rid>,
        /// Whether it pauses.
        paused: bool,
    },
    /// What the path to the peer carries, in bits per second.
    BandwidthEstimate(u64),
    /// A tone begins; none when the last one is over (W3C `tonechange`).
    ToneChange {
        /// Which sender plays it.
        sender: SenderId,
        /// It.
        tone: Option<char>,
    },
    /// The peer has made a channel, which is open (W3C `datachannel`).
    DataChannelAdded(Arc<DataChannelInfo>),
    /// A channel of this side is open.
    DataChannelOpened(DataChannelId),
    /// A message came.
    DataChannelMessage {
        /// On which channel.
        channel: DataChannelId,
        /// It.
        message: DataChannelMessage,
    },
    /// What waits to be sent has fallen to the threshold (W3C `bufferedamountlow`).
    BufferedAmountLow(DataChannelId),
    /// A channel is closed, by whichever side.
    DataChannelClosed(DataChannelId),
    /// The connection has failed, and why: told before the state changes to `failed`. An ICE restart may mend what is
    /// wrong with the path; what is not mended within [`ApiSettings::failed_close_timeout`](crate::ApiSettings) is
    /// closed.
    Failed(FailureReason),
    /// The connection is over; the last of all.
    Closed(CloseReason),
}

impl ConnectionEvent {
    /// How many bytes of the peer's it holds.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Sample(sample) => sample.data.len(),
            Self::Packet(packet) => packet.payload.len(),
            Self::DataChannelMessage { message, .. } => message.len(),
            _ => 0,
        }
    }

    /// Live media: better lost than late.
    pub(crate) fn is_media(&self) -> bool {
        matches!(self, Self::Sample(_) | Self::Packet(_))
    }
}

/// A message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataChannelMessage {
    /// Text. What a peer marks as text and is none is handed on with the bad bytes replaced.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl DataChannelMessage {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed it.
    #[error("closed")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The peer has given up the transport: it did so right after a round in which it stopped the section that spoke for the
    /// transport of all (the BUNDLE tag, RFC 9143 §7.3.1), for which Chromium and Firefox begin another transport, with
    /// another handshake.
    /// That needs another connection.
    #[error("the peer went over to another transport when it stopped its first section")]
    TransportReplaced,
    /// Its owner did not keep up with what came.
    #[error("its owner did not keep up")]
    OwnerTooSlow,
    /// Its actor was stopped, or has failed: its supervisor knows which.
    #[error("its actor has ended")]
    Stopped,
    /// It has failed, and nobody has mended or closed it in time; or cannot be gone on with.
    #[error("failed: {0}")]
    Failed(FailureReason),
}

/// Why a connection has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureReason {
    /// ICE has found no path to the peer within this time.
    #[error("no path to the peer was found within {0:?}")]
    NoPath(Duration),
    /// There was a path, and nothing has come from the peer for this time (RFC 7675).
    #[error("nothing has come from the peer for {0:?}")]
    PathLost(Duration),
    /// No pair of candidates works, and there are no more of them.
    #[error("no pair of candidates works")]
    NoPairLeft,
    /// The handshake has failed, or the actor that ran it.
    #[error("the handshake has failed: {0}")]
    Handshake(HandshakeError),
    /// The peer's SCTP does what cannot be borne.
    #[error("SCTP: {0}")]
    Sctp(SctpViolation),
    /// The protocol engine cannot go on.
    #[error("{0}")]
    Engine(String),
}
