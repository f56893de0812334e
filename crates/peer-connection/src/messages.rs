//! What a [`PeerConnection`] can be told.
//!
//! Every message is answered: with what was asked for, or with the error of its operation. They take effect one after
//! the other, in the order in which they are sent (W3C's "operations chain" is the mailbox).

use std::time::Duration;

use actix::prelude::*;

use crate::error::*;
use crate::session::Counters;
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

/// Make an offer (W3C `createOffer`). It does nothing until it is set.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<SessionDescription, CreateOfferError>")]
pub struct CreateOffer {
    /// Find new paths to the peer, on which everything goes on (RFC 8445 §9).
    pub ice_restart: bool,
    /// Without effect, as in browsers: W3C has taken it out of its specification.
    pub voice_activity_detection: bool,
}

/// Make an answer to the offer that was set (W3C `createAnswer`). From here on the peer can connect.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<SessionDescription, CreateAnswerError>")]
pub struct CreateAnswer {
    /// Without effect, as in browsers.
    pub voice_activity_detection: bool,
}

/// Set what this side says (W3C `setLocalDescription`): what was created last, as it is or with candidates. Without a
/// description, or without its text, one is created by the state.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<(), SetDescriptionError>")]
pub struct SetLocalDescription(pub Option<SessionDescription>);

/// Set what the peer says (W3C `setRemoteDescription`). An offer takes back an offer of this side that is under way.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SetDescriptionError>")]
pub struct SetRemoteDescription(pub SessionDescription);

descriptions! {
    /// What this side says: of the round that is under way, else what is in force (W3C `localDescription`).
    LocalDescription
    /// What this side says, and what is in force (W3C `currentLocalDescription`).
    CurrentLocalDescription
    /// What this side says in the round that is under way (W3C `pendingLocalDescription`).
    PendingLocalDescription
    /// What the peer says: of the round that is under way, else what is in force (W3C `remoteDescription`).
    RemoteDescription
    /// What the peer says, and what is in force (W3C `currentRemoteDescription`).
    CurrentRemoteDescription
    /// What the peer says in the round that is under way (W3C `pendingRemoteDescription`).
    PendingRemoteDescription
}

/// What became of the sections of the offer that was answered last, and why each that was rejected was. An answer that
/// takes nothing starts nothing: no candidates are gathered, and nothing connects.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "AnsweredSections")]
pub struct GetAnsweredSections;

/// A candidate of the peer (W3C `addIceCandidate`); none, or an empty one, says that there are no more.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "Result<(), AddIceCandidateError>")]
pub struct AddIceCandidate(pub Option<IceCandidate>);

/// Find new paths at the next offer (W3C `restartIce`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RestartIce;

/// Send a track (W3C `addTrack`), by a transceiver that has never sent, or by a new one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SenderId, AddTrackError>")]
pub struct AddTrack(pub LocalTrack);

/// Send a track no more (W3C `removeTrack`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct RemoveTrack(pub SenderId);

/// Send another track in a track's place, or none for a while; the peer is not asked (W3C `replaceTrack`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct ReplaceTrack {
    /// By which sender.
    pub sender: SenderId,
    /// What.
    pub track: Option<LocalTrack>,
}

/// A new transceiver (W3C `addTransceiver`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<TransceiverId, AddTransceiverError>")]
pub struct AddTransceiver {
    /// Of what.
    pub kind: TrackKind,
    /// Which way.
    pub direction: Direction,
    /// What it sends, if it is known.
    pub track: Option<LocalTrack>,
    /// The encodings it sends, of simulcast, best last; empty for one without a name.
    pub send_encodings: Vec<Rid>,
}

impl AddTransceiver {
    /// One that sends and receives, with nothing to send yet.
    pub fn new(kind: TrackKind) -> Self {
        Self { kind, direction: Direction::SendRecv, track: None, send_encodings: Vec::new() }
    }

    /// One that only receives.
    pub fn receive(kind: TrackKind) -> Self {
        Self { direction: Direction::RecvOnly, ..Self::new(kind) }
    }
}

/// Have media flow this way, once that is negotiated (W3C `RTCRtpTransceiver.direction`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct SetDirection {
    /// Through which transceiver.
    pub transceiver: TransceiverId,
    /// Which way.
    pub direction: Direction,
}

/// Negotiate these codecs alone, best first; none for all that there are (W3C `setCodecPreferences`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct SetCodecPreferences {
    /// For which transceiver.
    pub transceiver: TransceiverId,
    /// Which.
    pub codecs: Vec<RtpCodecCapability>,
}

/// End a transceiver for good (W3C `RTCRtpTransceiver.stop`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TransceiverError>")]
pub struct StopTransceiver(pub TransceiverId);

/// All transceivers (W3C `getTransceivers`).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<TransceiverInfo>")]
pub struct GetTransceivers;

/// A transceiver, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransceiverInfo {
    /// Which it is.
    pub id: TransceiverId,
    /// Its half that sends.
    pub sender: SenderId,
    /// The identification of its section, once it has one.
    pub mid: Option<String>,
    /// Of what.
    pub kind: TrackKind,
    /// Which way this side wants.
    pub direction: Direction,
    /// Which way was agreed on.
    pub current_direction: Option<Direction>,
    /// Whether it has ended.
    pub stopped: bool,
    /// What it sends.
    pub track: Option<LocalTrack>,
    /// What was agreed on, with payload types, best first.
    pub codecs: Vec<(u8, RtpCodecCapability)>,
}

/// Send a frame. In a connection of samples alone.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), WriteError>")]
pub struct WriteSample {
    /// By which sender.
    pub sender: SenderId,
    /// It.
    pub sample: Sample,
}

/// Send a packet. In a connection of RTP alone.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), WriteError>")]
pub struct WriteRtp {
    /// By which sender.
    pub sender: SenderId,
    /// It; its payload type is this connection's.
    pub packet: RtpPacket,
}

/// Ask the peer for a key frame.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), KeyframeError>")]
pub struct RequestKeyframe {
    /// Of what comes through this transceiver.
    pub transceiver: TransceiverId,
    /// Of which encoding.
    pub rid: Option<Rid>,
    /// How.
    pub kind: KeyframeRequestKind,
}

/// Play tones of a telephone's keys (W3C `RTCDTMFSender.insertDTMF`); they replace those that wait.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), DtmfError>")]
pub struct InsertDtmf {
    /// By which sender, of audio.
    pub sender: SenderId,
    /// `0`–`9`, `A`–`D`, `#`, `*`; a comma waits 2 s.
    pub tones: String,
    /// How long each is, 40 ms to 6 s.
    pub duration: Duration,
    /// How long the silence between two, 50 ms to 6 s.
    pub gap: Duration,
}

impl InsertDtmf {
    /// These tones, of 100 ms each and 70 ms apart.
    pub fn new(sender: SenderId, tones: impl Into<String>) -> Self {
        Self {
            sender,
            tones: tones.into(),
            duration: Duration::from_millis(100),
            gap: Duration::from_millis(70),
        }
    }
}

/// A new data channel (W3C `createDataChannel`), at any time.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<DataChannelId, CreateDataChannelError>")]
pub struct CreateDataChannel {
    /// Its label.
    pub label: String,
    /// How it is to be.
    pub options: DataChannelOptions,
}

impl CreateDataChannel {
    /// Reliable, and in order.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), options: DataChannelOptions::default() }
    }
}

/// Send a message on a data channel (W3C `send`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), SendDataError>")]
pub struct SendData {
    /// On which.
    pub channel: DataChannelId,
    /// It.
    pub message: DataChannelMessage,
}

impl SendData {
    /// Text.
    pub fn text(channel: DataChannelId, text: impl Into<String>) -> Self {
        Self { channel, message: DataChannelMessage::Text(text.into()) }
    }

    /// Bytes.
    pub fn binary(channel: DataChannelId, bytes: impl Into<bytes::Bytes>) -> Self {
        Self { channel, message: DataChannelMessage::Binary(bytes.into()) }
    }
}

/// Close a data channel; what waits is still sent. Says whether there is one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct CloseDataChannel(pub DataChannelId);

/// At how many waiting bytes to tell. Says whether there is such a channel.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct SetBufferedAmountLowThreshold {
    /// Of which channel.
    pub channel: DataChannelId,
    /// In bytes.
    pub threshold: usize,
}

/// A data channel, as it is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<DataChannelInfo>")]
pub struct GetDataChannel(pub DataChannelId);

/// All data channels.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<DataChannelInfo>")]
pub struct GetDataChannels;

/// W3C `connectionState`
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PeerConnectionState")]
pub struct GetConnectionState;

/// W3C `iceConnectionState`
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "IceConnectionState")]
pub struct GetIceConnectionState;

/// W3C `iceGatheringState`
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "IceGatheringState")]
pub struct GetIceGatheringState;

/// W3C `signalingState`
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "SignalingState")]
pub struct GetSignalingState;

/// W3C `getStats`
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "StatsReport")]
pub struct GetStats;

/// What was counted.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Counters")]
pub struct GetCounters;

/// Lose this part of the datagrams, both ways, from now on: a fault to put into a running connection, as supervision's
/// [`Fault`](callboard_supervision::Fault) is into an actor. For tests, and for an operator who wants to see what becomes of
/// a call on a bad network.
///
/// Which ones are lost follows from the connection's id. Off until it is asked for, and then it costs nothing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), InjectLossError>")]
pub struct InjectLoss {
    /// From 0, which turns it off, to 1.
    pub ratio: f64,
}

/// Say goodbye, and end (W3C `close`). Its owner hears [`ConnectionEvent::Closed`]; again, it does nothing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;
