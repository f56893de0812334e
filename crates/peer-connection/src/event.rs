//! Events that a peer connection sends to its owner.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;
use bytes::Bytes;
use callboard_ice_handshake::handshake::{HandshakeError, Role, SrtpProfile, Version};
use callboard_transport::gather::CandidateError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::IceCandidate;
use crate::data_channel::{DataChannelId, DataChannelInfo};
use crate::media::*;
use crate::sctp::SctpViolation;
use crate::state::*;

/// Identifier of a peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerConnectionId(pub Uuid);

impl fmt::Display for PeerConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Event of a connection; its owner receives events in the order in which they happened.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PeerConnectionEvent {
    /// Connection that the event belongs to.
    pub connection: PeerConnectionId,
    /// The event.
    pub event: ConnectionEvent,
}

/// Packets that a connection has received at once, in the order of their arrival, for its
/// [media sink](crate::messages::SetMediaSink).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct PacketBatch {
    /// Connection that has received them.
    pub connection: PeerConnectionId,
    /// The packets, of any transceivers.
    pub packets: Vec<RtpPacket>,
    /// Reports of the peer that came with them. There may be reports alone.
    pub reports: Vec<SenderReport>,
}

/// Report of the peer on the clocks of a stream that it sends (RFC 3550 §6.4.1): its RTP time and its time of day are
/// of one moment. By them the streams of one peer are played in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderReport {
    /// Transceiver that receives the stream.
    pub transceiver: TransceiverId,
    /// Encoding of simulcast.
    pub rid: Option<Rid>,
    /// Time of day, by the peer's clock.
    pub ntp: SystemTime,
    /// RTP time, in units of the codec's clock.
    pub rtp_time: u32,
    /// Time at which the report was received.
    pub received: Instant,
}

/// Report of the peer on how a stream that is sent to it arrives (RFC 3550 §6.4.2).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReceptionReport {
    /// Transceiver that sends the stream.
    pub transceiver: TransceiverId,
    /// Encoding of simulcast.
    pub rid: Option<Rid>,
    /// Share of the packets that were lost since its report before, from 0 to 1 (W3C `fractionLost`).
    pub fraction_lost: f64,
    /// Packets that were lost since the stream began.
    pub packets_lost: u64,
    /// Variation of the time that packets take.
    pub jitter: Duration,
    /// Round-trip time of the path; none before the peer has answered a report of this side.
    pub round_trip_time: Option<Duration>,
}

/// Event of a connection, without the connection's id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// An offer should be made. Sent once for each need (W3C `negotiationneeded`).
    NegotiationNeeded,
    /// A candidate for the peer (W3C `icecandidate`). An empty one means that there are no more of this generation;
    /// `None`, that gathering is complete.
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
    /// DTLS is complete, with these parameters.
    HandshakeFinished {
        /// Version of DTLS.
        version: Version,
        /// DTLS role of this side.
        role: Role,
        /// Negotiated SRTP profile; none if the peer does not speak SRTP: data channels work, media does not.
        srtp_profile: Option<SrtpProfile>,
    },
    /// The peer sends this track from now on (W3C `track`).
    TrackAdded {
        /// Transceiver that receives it.
        transceiver: TransceiverId,
        /// Audio or video.
        kind: TrackKind,
        /// `a=mid` of its section.
        mid: String,
        /// The peer's id of the track.
        track: String,
        /// Ids of the streams to which it belongs.
        streams: Vec<String>,
        /// Names of its simulcast encodings, in the order of the description; empty without simulcast.
        encodings: Vec<Rid>,
    },
    /// The peer no longer sends the track (W3C `mute`, and `removetrack` of its streams).
    TrackRemoved {
        /// Transceiver that received it.
        transceiver: TransceiverId,
    },
    /// Either side has stopped a transceiver.
    TransceiverStopped {
        /// The stopped transceiver.
        transceiver: TransceiverId,
    },
    /// A frame was received.
    Sample(ReceivedSample),
    /// A packet was received; only in RTP mode, and without a [media sink](crate::messages::SetMediaSink).
    Packet(RtpPacket),
    /// The peer reports on the clocks of a stream; only in RTP mode, and without a media sink.
    SenderReport(SenderReport),
    /// The peer has reported how streams arrive that are sent to it: those on which it has since the last time, once a
    /// second; only in RTP mode.
    ReceptionReports(Vec<ReceptionReport>),
    /// The peer asks for a key frame of a track that is sent to it.
    KeyframeRequested {
        /// Transceiver that sends the track.
        transceiver: TransceiverId,
        /// Encoding of simulcast.
        rid: Option<Rid>,
        /// RTCP message that asked.
        kind: KeyframeRequestKind,
    },
    /// An encoding has not been received for 1.5 s, or is received again.
    EncodingPaused {
        /// Transceiver that receives it.
        transceiver: TransceiverId,
        /// Encoding of simulcast.
        rid: Option<Rid>,
        /// Whether the encoding pauses.
        paused: bool,
    },
    /// Estimated capacity of the path to the peer; with
    /// [`InterceptorRegistry::bandwidth_estimation`](crate::InterceptorRegistry).
    BandwidthEstimate {
        /// Bits per second.
        bitrate: u64,
        /// Whether the estimate can rise by probing: the peer says when each packet arrived, and media is negotiated.
        can_probe: bool,
    },
    /// A tone begins; none when the last one is over (W3C `tonechange`).
    ToneChange {
        /// Sender that plays it.
        sender: SenderId,
        /// The tone.
        tone: Option<char>,
    },
    /// The peer has created a channel, which is open (W3C `datachannel`).
    DataChannelAdded(Arc<DataChannelInfo>),
    /// A channel that this side has created is open.
    DataChannelOpened(DataChannelId),
    /// A message was received.
    DataChannelMessage {
        /// Channel of the message.
        channel: DataChannelId,
        /// The message.
        message: DataChannelMessage,
    },
    /// The bytes that wait to be sent have fallen to the threshold (W3C `bufferedamountlow`).
    BufferedAmountLow(DataChannelId),
    /// Either side has closed a channel.
    DataChannelClosed(DataChannelId),
    /// The connection has failed, for this reason: sent before the state changes to `failed`. An ICE restart may repair
    /// the path; a connection that is not repaired within [`ApiSettings::failed_close_timeout`](crate::ApiSettings) is
    /// closed.
    Failed(FailureReason),
    /// The connection is over; the last event.
    Closed(CloseReason),
}

impl ConnectionEvent {
    /// Returns how many bytes from the peer the event holds.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Sample(sample) => sample.data.len(),
            Self::Packet(packet) => packet.payload.len(),
            Self::DataChannelMessage { message, .. } => message.len(),
            _ => 0,
        }
    }

    /// Returns whether the event is live media, which is better lost than late.
    pub(crate) fn is_media(&self) -> bool {
        matches!(self, Self::Sample(_) | Self::Packet(_))
    }
}

/// A message of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 8831: a message is a text or bytes")]
pub enum DataChannelMessage {
    /// Text. If a peer marks bytes as text that are not UTF-8, the bad bytes are replaced.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl DataChannelMessage {
    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the message's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Reason why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed it.
    #[error("closed")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The peer has given up the transport: it did so right after a round in which it stopped the section of the BUNDLE
    /// tag (RFC 9143 §7.3.1), which stands for the transport of all sections. Chromium and Firefox then begin another
    /// transport, with another handshake.
    /// That needs another connection.
    #[error("the peer went over to another transport when it stopped its first section")]
    TransportReplaced,
    /// The owner did not keep up with the events.
    #[error("its owner did not keep up")]
    OwnerTooSlow,
    /// The actor was stopped or has failed: its supervisor knows which.
    #[error("its actor has ended")]
    Stopped,
    /// The connection has failed, and was neither repaired nor closed in time; or it cannot go on.
    #[error("failed: {0}")]
    Failed(FailureReason),
}

/// Reason why a connection has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureReason {
    /// ICE found no path to the peer within this time.
    #[error("no path to the peer was found within {0:?}")]
    NoPath(Duration),
    /// There was a path, but nothing has come from the peer for this time (RFC 7675).
    #[error("nothing has come from the peer for {0:?}")]
    PathLost(Duration),
    /// No pair of candidates works, and there are no more pairs.
    #[error("no pair of candidates works")]
    NoPairLeft,
    /// The handshake has failed, or the actor that ran it.
    #[error("the handshake has failed: {0}")]
    Handshake(HandshakeError),
    /// The peer's SCTP breaks a limit that protects this side.
    #[error("SCTP: {0}")]
    Sctp(SctpViolation),
    /// The protocol engine cannot go on.
    #[error("{0}")]
    Engine(String),
}
