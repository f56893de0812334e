//! Commands and queries of a [`PeerConnection`].
//!
//! Every message is answered with its result or with the error of its operation. Messages take effect one after the
//! other, in the order in which they are sent (W3C's "operations chain" is the mailbox).

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::error::*;
pub use crate::outgoing_packets::{PacketSource, SetPacketSource, WriteRtp, WriteRtpBatch};
use crate::session::PeerConnectionCounters;
pub use crate::slots::{OfferSlots, Slot};
use crate::stats::StatsReport;
use crate::*;

macro_rules! descriptions {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Message)]
        #[rtype(result = "Option<SessionDescription>")]
        pub struct $name;
    )*};
}

/// Makes an offer (W3C `createOffer`). The offer has no effect until it is set.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<SessionDescription, CreateOfferError>")]
pub struct CreateOffer {
    /// Whether to find new paths to the peer; media and data go on over them (RFC 8445 §9).
    pub ice_restart: bool,
    /// No effect, as in browsers: W3C has removed it from its specification.
    pub voice_activity_detection: bool,
}

/// Makes an answer to the offer that was set (W3C `createAnswer`). From then on the peer can connect.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<SessionDescription, CreateAnswerError>")]
pub struct CreateAnswer {
    /// No effect, as in browsers.
    pub voice_activity_detection: bool,
}

/// Sets the local description (W3C `setLocalDescription`): the one that was created last, unchanged or with candidates
/// added. Without a description, or without its text, one is created that fits the signaling state.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<(), SetDescriptionError>")]
pub struct SetLocalDescription(pub Option<SessionDescription>);

/// Sets the remote description (W3C `setRemoteDescription`). A remote offer rolls back a pending local offer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SetDescriptionError>")]
pub struct SetRemoteDescription(pub SessionDescription);

/// Makes an offer of this side's changes, sets it, and returns it: the effect of [`SetLocalDescription`] without a
/// description and of [`LocalDescription`], in one command. Only in the signaling state `stable`: a pending offer is
/// not made again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<SessionDescription, SetDescriptionError>")]
pub struct MakeOffer;

/// Answers an offer of the peer: sets it, creates the answer, sets that, and returns it. The effect is that of
/// [`SetRemoteDescription`] and [`SetLocalDescription`] without a description, in one command: a server that does not
/// look between them waits once, for one change of threads and back.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<AcceptedOffer, AcceptOfferError>")]
pub struct AcceptOffer(pub SessionDescription);

/// Answer to an offer of the peer, which is set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedOffer {
    /// The answer, for the peer.
    pub answer: SessionDescription,
    /// Result for each section of the offer, with the reason for each rejected one ([`GetAnsweredSections`]).
    pub sections: AnsweredSections,
}

descriptions! {
    /// Returns the local description: the pending one, else the current one (W3C `localDescription`).
    LocalDescription
    /// Returns the local description in force (W3C `currentLocalDescription`).
    CurrentLocalDescription
    /// Returns the local description of the round under way (W3C `pendingLocalDescription`).
    PendingLocalDescription
    /// Returns the remote description: the pending one, else the current one (W3C `remoteDescription`).
    RemoteDescription
    /// Returns the remote description in force (W3C `currentRemoteDescription`).
    CurrentRemoteDescription
    /// Returns the remote description of the round under way (W3C `pendingRemoteDescription`).
    PendingRemoteDescription
}

/// Returns the result for each section of the offer that was answered last, with the reason for each rejected one. An
/// answer that accepts no section starts nothing: no candidates are gathered, and nothing connects.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "AnsweredSections")]
pub struct GetAnsweredSections;

/// Adds a candidate of the peer (W3C `addIceCandidate`); `None`, or an empty one, means that there are no more.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<(), AddIceCandidateError>")]
pub struct AddIceCandidate(pub Option<IceCandidate>);

/// Restarts ICE at the next offer (W3C `restartIce`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RestartIce;

/// Sends a track (W3C `addTrack`) through a transceiver that has never sent, or through a new one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SenderId, AddTrackError>")]
pub struct AddTrack(pub LocalTrack);

/// Stops sending a track (W3C `removeTrack`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct RemoveTrack(pub SenderId);

/// Replaces the track of a sender by another, or by none for a while, without negotiation (W3C `replaceTrack`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct ReplaceTrack {
    /// Sender whose track is replaced.
    pub sender: SenderId,
    /// New track; `None` to send nothing.
    pub track: Option<LocalTrack>,
}

/// Adds a transceiver (W3C `addTransceiver`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<TransceiverId, AddTransceiverError>")]
pub struct AddTransceiver {
    /// Audio or video.
    pub kind: TrackKind,
    /// Direction that this side wants.
    pub direction: Direction,
    /// Track that it sends, if it is known.
    pub track: Option<LocalTrack>,
    /// Names of the simulcast encodings that it sends, best last; empty for one encoding without a name.
    pub send_encodings: Vec<Rid>,
}

impl AddTransceiver {
    /// Creates the command for a transceiver that sends and receives, with no track to send yet.
    pub fn new(kind: TrackKind) -> Self {
        Self { kind, direction: Direction::SendRecv, track: None, send_encodings: Vec::new() }
    }

    /// Creates the command for a transceiver that only receives.
    pub fn receive(kind: TrackKind) -> Self {
        Self { direction: Direction::RecvOnly, ..Self::new(kind) }
    }
}

/// Sets the direction of media, which takes effect once it is negotiated (W3C `RTCRtpTransceiver.direction`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct SetDirection {
    /// Transceiver that changes.
    pub transceiver: TransceiverId,
    /// Direction that this side wants.
    pub direction: Direction,
}

/// Restricts negotiation to these codecs, best first; an empty list allows all (W3C `setCodecPreferences`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct SetCodecPreferences {
    /// Transceiver that the preference applies to.
    pub transceiver: TransceiverId,
    /// Codecs, best first.
    pub codecs: Vec<RtpCodecCapability>,
}

/// Stops a transceiver for good (W3C `RTCRtpTransceiver.stop`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct StopTransceiver(pub TransceiverId);

/// Returns all transceivers (W3C `getTransceivers`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<TransceiverInfo>")]
pub struct GetTransceivers;

/// State of a transceiver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransceiverInfo {
    /// Identifier of the transceiver.
    pub id: TransceiverId,
    /// Its sending half.
    pub sender: SenderId,
    /// Its section's `a=mid`, once it has a section.
    pub mid: Option<String>,
    /// Audio or video.
    pub kind: TrackKind,
    /// Direction that this side wants.
    pub direction: Direction,
    /// Direction that was negotiated.
    pub current_direction: Option<Direction>,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Track that it sends.
    pub track: Option<LocalTrack>,
    /// Negotiated codecs with their payload types, best first.
    pub codecs: Vec<(u8, RtpCodecCapability)>,
    /// Names of the simulcast encodings that the peer sends, in the order of its description.
    pub encodings: Vec<Rid>,
}

/// Sends a frame. Only for connections in sample mode. One that is refused is also counted
/// ([`PeerConnectionCounters::writes_refused`]), for senders that do not wait for the answer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), WriteError>")]
pub struct WriteSample {
    /// Sender of the track.
    pub sender: SenderId,
    /// The frame.
    pub sample: Sample,
}

/// Sends all packets that are received from now on to this actor, those of a wake-up in one message: the owner gets no
/// [`ConnectionEvent::Packet`] any more. With none they go to the owner again, one by one, as they do by default.
///
/// Packets for which the actor's mailbox has no room are dropped and
/// [counted](PeerConnectionCounters::media_dropped), also if it has ended: set another one then. Nothing goes there but
/// packets; interceptors see them before.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct SetMediaSink(pub Option<Recipient<PacketBatch>>);

/// Sets how a sender keeps and paces its packets, from now on and for all of its encodings.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct ConfigureSender {
    /// Sender that is configured.
    pub sender: SenderId,
    /// Most packets that are kept to be sent again, and for how long; what was kept before is dropped. Each costs its
    /// payload, unless that is shared, and 400 bytes. Default: none, for 50 of audio or 1,000 of video, and 3 s.
    pub resend: Option<(usize, Duration)>,
    /// Whether packets wait for the pacer, with bandwidth estimation on. Default: none, for video alone.
    pub paced: Option<bool>,
}

impl ConfigureSender {
    /// Creates the command that leaves everything at its default.
    pub fn new(sender: SenderId) -> Self {
        Self { sender, resend: None, paced: None }
    }
}

/// Returns where the stream of a sender is; none if nothing was written to it. Only for connections in RTP mode.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<SenderPosition>")]
pub struct GetSenderPosition {
    /// Sender of the stream.
    pub sender: SenderId,
    /// Encoding of simulcast, if there are several.
    pub rid: Option<Rid>,
}

/// Returns the media thread on which the connection runs, counted from 0
/// ([`PeerConnections::open_on`](crate::PeerConnections::open_on)).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "usize")]
pub struct GetMediaThread;

/// Sets how much this side would like to send: bandwidth is probed for it. Returns whether
/// [bandwidth is estimated](InterceptorRegistry::bandwidth_estimation); if not, nothing changes.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct SetBitrate {
    /// Bits per second that are kept up, with padding where media sends less, as far as the estimate allows: as much as
    /// the next layer of video needs. Default: 0.
    pub minimum: u64,
    /// Bits per second that this side would send if it could. Default: 0.
    pub desired: u64,
}

/// Returns the estimated bits per second of the path to the peer, as [`ConnectionEvent::BandwidthEstimate`] said last;
/// none where [bandwidth is not estimated](InterceptorRegistry::bandwidth_estimation), or while the estimate cannot
/// rise by probing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<u64>")]
pub struct GetBandwidthEstimate;

/// Begins the estimation of bandwidth anew. Returns whether bandwidth is estimated; if not, nothing changes.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct ResetEstimate {
    /// Bits per second to begin with.
    pub initial: u64,
}

/// Asks the peer for a key frame.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), KeyframeError>")]
pub struct RequestKeyframe {
    /// Transceiver that receives the track.
    pub transceiver: TransceiverId,
    /// Encoding of simulcast, if there are several.
    pub rid: Option<Rid>,
    /// RTCP message to ask with.
    pub kind: KeyframeRequestKind,
}

/// Plays tones of a telephone's keys (W3C `RTCDTMFSender.insertDTMF`); they replace those that wait.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), DtmfError>")]
pub struct InsertDtmf {
    /// Sender of an audio track.
    pub sender: SenderId,
    /// `0`–`9`, `A`–`D`, `#`, `*`; a comma waits 2 s.
    pub tones: String,
    /// Duration of each tone, 40 ms to 6 s.
    pub duration: Duration,
    /// Silence between two tones, 50 ms to 6 s.
    pub gap: Duration,
}

impl InsertDtmf {
    /// Creates the command for tones of 100 ms each, 70 ms apart.
    pub fn new(sender: SenderId, tones: impl Into<String>) -> Self {
        Self {
            sender,
            tones: tones.into(),
            duration: Duration::from_millis(100),
            gap: Duration::from_millis(70),
        }
    }
}

/// Creates a data channel (W3C `createDataChannel`), at any time.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<DataChannelId, CreateDataChannelError>")]
pub struct CreateDataChannel {
    /// The channel's label.
    pub label: String,
    /// Reliability, order and further options.
    pub options: DataChannelOptions,
}

impl CreateDataChannel {
    /// Creates the command for a reliable and ordered channel.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), options: DataChannelOptions::default() }
    }
}

/// Sends a message on a data channel, unless more than so much of it waits to be sent or confirmed
/// (W3C `bufferedAmount`): then the message is dropped ([`BufferFull`](SendDataError::BufferFull)). For what is old
/// when it comes late, such as positions: a receiver on a slow path gets fewer of them instead of older ones.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendDataError>")]
pub struct SendLossy {
    /// Channel to send on; best one without retransmissions
    /// ([`max_retransmits`](DataChannelOptions::max_retransmits)).
    pub channel: DataChannelId,
    /// The message.
    pub message: DataChannelMessage,
    /// Bytes that may wait before this message.
    pub max_buffered_amount: usize,
}

/// Sends a message on a data channel (W3C `send`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendDataError>")]
pub struct SendData {
    /// Channel to send on.
    pub channel: DataChannelId,
    /// The message.
    pub message: DataChannelMessage,
}

impl SendData {
    /// Creates the command for a text message.
    pub fn text(channel: DataChannelId, text: impl Into<String>) -> Self {
        Self { channel, message: DataChannelMessage::Text(text.into()) }
    }

    /// Creates the command for a binary message.
    pub fn binary(channel: DataChannelId, bytes: impl Into<bytes::Bytes>) -> Self {
        Self { channel, message: DataChannelMessage::Binary(bytes.into()) }
    }
}

/// Sends a message on a data channel, and tells later whether it has arrived.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DeliverData {
    pub(crate) channel: DataChannelId,
    pub(crate) message: DataChannelMessage,
    pub(crate) told: oneshot::Sender<Result<(), DeliverDataError>>,
}

/// Closes a data channel; what waits is still sent. Returns whether there is such a channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct CloseDataChannel(pub DataChannelId);

/// Sets the threshold of [`ConnectionEvent::BufferedAmountLow`]. Returns whether there is such a channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct SetBufferedAmountLowThreshold {
    /// Channel that the threshold is for.
    pub channel: DataChannelId,
    /// Bytes that wait to be sent.
    pub threshold: usize,
}

/// Returns the state of a data channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<DataChannelInfo>")]
pub struct GetDataChannel(pub DataChannelId);

/// Returns the states of all data channels.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<DataChannelInfo>")]
pub struct GetDataChannels;

/// Returns W3C's `connectionState`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PeerConnectionState")]
pub struct GetConnectionState;

/// Returns W3C's `iceConnectionState`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "IceConnectionState")]
pub struct GetIceConnectionState;

/// Returns W3C's `iceGatheringState`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "IceGatheringState")]
pub struct GetIceGatheringState;

/// Returns W3C's `signalingState`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "SignalingState")]
pub struct GetSignalingState;

/// Returns the statistics (W3C `getStats`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "StatsReport")]
pub struct GetStats;

/// Returns the connection's counters.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PeerConnectionCounters")]
pub struct GetCounters;

/// Drops this share of the datagrams, both ways, from now on: fault injection into a running connection, as
/// supervision's [`Fault`](callboard_supervision::Fault) is into an actor. For tests, and for an operator who wants to
/// see how a call behaves on a bad network.
///
/// The connection's id determines which datagrams are lost. Off by default, and then it costs nothing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), InjectLossError>")]
pub struct InjectLoss {
    /// Share from 0, which turns it off, to 1.
    pub ratio: f64,
}

/// Closes the connection: sends the peer `close_notify`, and ends (W3C `close`). The owner receives
/// [`ConnectionEvent::Closed`]; a second `Close` does nothing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;
