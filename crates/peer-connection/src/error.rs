//! What can go wrong, an enum for each operation.

use callboard_ice_handshake::handshake::FingerprintError;

use crate::sdp::MediaKind;
use crate::state::SignalingState;
use crate::{BadRid, SdpType};

/// Why a description was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// It is larger than anybody needs.
    #[error("the description has {0} bytes")]
    TooLarge(usize),
    /// It does not begin with `v=0`, or lacks a line that must be there.
    #[error("the description is no SDP: {0}")]
    Syntax(String),
    /// More sections than [`ApiSettings::max_sections`](crate::ApiSettings::max_sections).
    #[error("the description has {found} sections, of {limit} that are taken")]
    TooManySections {
        /// In this one.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// More lines than 512 for each section, and 1,024: each takes many times its length while the connection lasts.
    #[error("the description has {found} lines, of {limit} that are taken for so many sections")]
    TooManyLines {
        /// In this one.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// An answer accepts more than one section, and has no `a=group:BUNDLE` (RFC 9143; `max-bundle` is the only policy).
    #[error("the answer accepts several sections without a BUNDLE group")]
    NoBundle,
    /// The BUNDLE group names a section that is not there.
    #[error("the BUNDLE group names {0:?}, which is no section's mid")]
    UnknownMidInBundle(String),
    /// Two sections have the same `a=mid`.
    #[error("two sections have the mid {0:?}")]
    DuplicateMid(String),
    /// A section's `a=mid` is no token of at most 255 characters (RFC 5888 §4, RFC 8866 §9).
    #[error("the mid {0:?} cannot be used: it is no token of 1 to 255 characters")]
    UnusableMid(String),
    /// An `a=setup` that is none of `actpass`, `active` and `passive` (RFC 8842 §5.1): `holdconn`, for one.
    #[error("a=setup:{0} cannot be used: actpass, active and passive can")]
    UnusableSetup(String),
    /// It has fewer sections than the one before it (RFC 3264 §8).
    #[error("{found} sections where there were {before}")]
    FewerSections {
        /// In this one.
        found: usize,
        /// In the one before it.
        before: usize,
    },
    /// An answer has another number of sections than its offer (RFC 3264 §6).
    #[error("{found} sections in the answer to an offer of {offered}")]
    OtherNumberOfSections {
        /// In the answer.
        found: usize,
        /// In the offer.
        offered: usize,
    },
    /// A section's `a=mid` is not what it was (RFC 8829 §5.8).
    #[error("section {section} has the mid {found:?} instead of {expected:?}")]
    OtherMid {
        /// Its number, from 0.
        section: usize,
        /// What it should have been.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A section carries something else than before.
    #[error("section {section} is {found:?} instead of {expected:?}")]
    OtherKind {
        /// Its number, from 0.
        section: usize,
        /// What it should have been.
        expected: MediaKind,
        /// What it is.
        found: MediaKind,
    },
    /// A section that was rejected in the offer is not in the answer.
    #[error("section {0} was rejected in the offer, and is accepted in the answer")]
    AcceptsRejected(usize),
    /// No `a=ice-ufrag` and `a=ice-pwd`.
    #[error("the description has no ICE credentials")]
    NoIceCredentials,
    /// Too short or too long (RFC 8839 §5.4).
    #[error("the ICE credentials are not of 4 to 256 and 22 to 256 characters")]
    BadIceCredentials,
    /// An answer with other credentials than before to an offer that did not restart ICE.
    #[error("the answer restarts ICE, which the offer did not ask for")]
    RestartInAnswer,
    /// No `a=fingerprint`.
    #[error("the description has no certificate fingerprint")]
    NoFingerprint,
    /// None of its `a=fingerprint` can be read (RFC 8122 §5); this is the first.
    #[error("the certificate fingerprint {found:?} cannot be used: {reason}")]
    UnusableFingerprint {
        /// Its first 40 characters.
        found: String,
        /// What is wrong with it.
        reason: FingerprintError,
    },
    /// Another certificate on the same connection.
    #[error("the certificate fingerprint is not the one of this connection")]
    OtherFingerprint,
    /// Both sides would wait for checks (RFC 8445 §6.1.1).
    #[error("both sides are ICE-lite")]
    BothLite,
    /// A section of RTP without `a=rtcp-mux` (RFC 8834 §4.5).
    #[error("section {0} does not multiplex RTCP")]
    NoRtcpMux(usize),
    /// A payload type that means one thing here and another there (RFC 8843 §10.1.2), or another than before.
    #[error("the payload type {0:?} has two meanings")]
    PayloadTypeReused(String),
    /// `a=setup:actpass` in an answer (RFC 8842 §5.3).
    #[error("the answer does not choose a DTLS role")]
    RoleNotChosen,
    /// Another `a=setup` than the one of this connection.
    #[error("the answer changes the DTLS role")]
    OtherRole,
}

/// Why a description was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetDescriptionError {
    /// Not in this state (W3C `InvalidStateError`).
    #[error("no {side} {kind} in the state {state}")]
    InvalidState {
        /// `local` or `remote`.
        side: &'static str,
        /// What was to be set.
        kind: SdpType,
        /// The state.
        state: SignalingState,
    },
    /// A local description is not the one that was created last (W3C `InvalidModificationError`); candidates do not
    /// matter.
    #[error(
        "the description is not the one that was created: line {line} is {found:?} instead of {expected:?}"
    )]
    InvalidModification {
        /// The first line that differs, from 1.
        line: usize,
        /// As it was created.
        expected: String,
        /// As it is.
        found: String,
    },
    /// The remote description cannot be used.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The offer of the peer was answered already, and what it changed cannot be taken back.
    #[error("the remote offer was already answered; its {0} cannot be rolled back")]
    CannotRollBack(&'static str),
    /// An implicit description could not be created.
    #[error(transparent)]
    CreateOffer(#[from] CreateOfferError),
    /// An implicit description could not be created.
    #[error(transparent)]
    CreateAnswer(#[from] CreateAnswerError),
    /// The engine refused a description that seemed right; the connection has ended.
    #[error("the description cannot be applied: {0}")]
    Engine(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why there is no offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateOfferError {
    /// Only in `stable` and `have-local-offer` (W3C `InvalidStateError`).
    #[error("no offer in the state {0}")]
    InvalidState(SignalingState),
    /// An ICE restart before anything was negotiated.
    #[error("ICEAgent does not exist")]
    NoIceAgent,
    /// About a thousand offers of a first data section were made, and none was answered. The connection goes on with
    /// what is negotiated.
    #[error("too many offers of a data section without an answer")]
    TooMany,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateAnswerError {
    /// Only in `have-remote-offer` and `have-local-pranswer` (W3C `InvalidStateError`).
    #[error("no answer in the state {0}")]
    InvalidState(SignalingState),
    /// The engine refused an offer that seemed right; the connection has ended.
    #[error("the offer cannot be applied: {0}")]
    Engine(String),
    /// The engine could not read an offer that seemed right. Nothing has changed: the offer can be rolled back.
    #[error("the offer cannot be read: {0}")]
    Unreadable(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a track was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddTrackError {
    /// Its codec is neither `audio` nor `video`, or none that this connection's media engine has.
    #[error("invalid track: {0}")]
    InvalidTrack(String),
    /// A sender has it already (W3C `InvalidAccessError`).
    #[error("the track has a sender already")]
    AlreadyAdded,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why there is no new transceiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddTransceiverError {
    /// Its track is no track.
    #[error(transparent)]
    Track(#[from] AddTrackError),
    /// An encoding has no usable name, or two have the same.
    #[error(transparent)]
    Encoding(#[from] BadRid),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a transceiver or sender was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransceiverError {
    /// There is none of this id.
    #[error("not found")]
    NotFound,
    /// It is stopped (W3C `InvalidStateError`).
    #[error("the transceiver is stopped")]
    Stopped,
    /// A track of the other kind (W3C `TypeError`).
    #[error("a {0} track cannot replace one of the other kind")]
    OtherKind(crate::TrackKind),
    /// The peer has not agreed to this codec (W3C `InvalidModificationError`).
    #[error("the codec {0} was not negotiated")]
    NotNegotiated(String),
    /// A codec that this connection's media engine does not have (W3C `InvalidModificationError`).
    #[error("the media engine has no codec {0}")]
    UnknownCodec(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a sample or packet was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no sender of this id.
    #[error("not found")]
    NotFound,
    /// It has no track, or its transceiver's negotiated direction does not let it send.
    #[error("the sender does not send")]
    NotSending,
    /// The connection is not connected; what is written before is lost, as live media is.
    #[error("the connection is not connected")]
    NotConnected,
    /// The peer has not agreed to the track's codec, or to this payload type.
    #[error("the codec was not negotiated")]
    NotNegotiated,
    /// There is no such encoding.
    #[error("no such encoding")]
    UnknownEncoding,
    /// Samples are for connections in sample mode, packets for those in RTP mode.
    #[error("the connection is in the other media mode")]
    OtherMode,
    /// Whatever else the engine says.
    #[error("{0}")]
    Engine(String),
}

/// Why no key frame was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyframeError {
    /// There is no transceiver of this id.
    #[error("not found")]
    NotFound,
    /// Nothing is being received, or not this encoding.
    #[error("nothing is being received")]
    NotReceiving,
}

/// Why a tone is not played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DtmfError {
    /// There is no sender of this id.
    #[error("not found")]
    NotFound,
    /// It does not send audio, or the peer has not agreed to `telephone-event`.
    #[error("the sender cannot play tones")]
    CannotInsert,
    /// A character that is no tone (W3C `InvalidCharacterError`).
    #[error("{0:?} is no tone")]
    NoTone(char),
    /// More tones than may wait.
    #[error("too many tones")]
    TooMany,
}

/// Why a candidate was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddIceCandidateError {
    /// There is no remote description yet (W3C `InvalidStateError`).
    #[error("remote description is not set")]
    NoRemoteDescription,
    /// Neither `sdpMid` nor `sdpMLineIndex` (W3C `TypeError`).
    #[error("the candidate names no section")]
    NoSection,
    /// The section is not in the remote description (W3C `OperationError`).
    #[error("the candidate names a section that is not there")]
    UnknownSection,
    /// It is no candidate (W3C `OperationError`).
    #[error("no candidate: {0:?}")]
    Syntax(String),
    /// An address to which nobody may have us send.
    #[error(transparent)]
    Refused(#[from] callboard_transport::gather::RemoteRefused),
    /// More than anybody needs.
    #[error("too many candidates")]
    TooMany,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why there is no new data channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateDataChannelError {
    /// `max_retransmits` and `max_packet_life_time` exclude each other (W3C `TypeError`).
    #[error("a channel is limited by its retransmissions or by their time, not by both")]
    BothLimits,
    /// Longer than the message that opens a channel can carry here (W3C `TypeError`, at 65,535 bytes each).
    #[error("label and protocol together are longer than 1,200 bytes")]
    TooLong,
    /// A channel that both sides declare needs an id (W3C `TypeError`).
    #[error("a negotiated channel needs an id")]
    NoId,
    /// 65,535 is no id, nor is what the association has no stream for (W3C `TypeError`, `OperationError`).
    #[error("{0} is no channel's id")]
    BadId(u16),
    /// Another channel has it (W3C `OperationError`).
    #[error("the id {0} is taken")]
    IdTaken(u16),
    /// As many as one connection may have.
    #[error("too many channels")]
    TooMany,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendDataError {
    /// There is no channel of this id.
    #[error("not found")]
    NotFound,
    /// It is not open: not yet, or not any more (W3C `InvalidStateError`).
    #[error("the channel is not open")]
    NotOpen,
    /// Too much waits to be sent (W3C `OperationError`).
    #[error("the channel's buffer is full")]
    BufferFull,
    /// More than can be sent in one message (W3C `TypeError`).
    #[error("a message of {size} bytes, where {limit} can be sent")]
    TooLarge {
        /// Of the message.
        size: usize,
        /// `a=max-message-size` of the peer (RFC 8841 §6), or what this side sends at most if that is less: 256 KiB, or
        /// [`ApiSettings::max_message_size`](crate::ApiSettings::max_message_size) if larger.
        limit: usize,
    },
    /// The SCTP library below would never send anything again on this channel.
    #[error("empty messages cannot be sent")]
    Empty,
}

/// Why no datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectLossError {
    /// It is no part of a whole.
    #[error("{0} is not between 0 and 1")]
    BadRatio(f64),
}
