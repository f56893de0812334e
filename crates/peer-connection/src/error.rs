//! Errors of the operations, one enum for each.

use callboard_ice_handshake::handshake::FingerprintError;

use crate::sdp::MediaKind;
use crate::state::SignalingState;
use crate::{ParseRidError, SdpType};

/// Reason why a description was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// The description is larger than any real one.
    #[error("the description has {0} bytes")]
    TooLarge(usize),
    /// The description does not begin with `v=0`, or lacks a line that must be there.
    #[error("the description is no SDP: {0}")]
    Syntax(String),
    /// The description has more sections than [`ApiSettings::max_sections`](crate::ApiSettings::max_sections).
    #[error("the description has {found} sections, of {limit} that are taken")]
    TooManySections {
        /// Sections of this description.
        found: usize,
        /// Allowed number of sections.
        limit: usize,
    },
    /// It has more than 1,024 lines plus 512 for each section, which no real one has: each line costs CPU time.
    #[error("the description has {found} lines, of {limit} that are taken for so many sections")]
    TooManyLines {
        /// Lines of this description.
        found: usize,
        /// Allowed number of lines.
        limit: usize,
    },
    /// An answer accepts more than one section, and has no `a=group:BUNDLE` (RFC 9143; `max-bundle` is the only
    /// policy).
    #[error("the answer accepts several sections without a BUNDLE group")]
    NoBundle,
    /// The BUNDLE group names a section that does not exist.
    #[error("the BUNDLE group names {0:?}, which is no section's mid")]
    UnknownMidInBundle(String),
    /// Two sections have the same `a=mid`.
    #[error("two sections have the mid {0:?}")]
    DuplicateMid(String),
    /// A section's `a=mid` is not a token of at most 255 characters (RFC 5888 §4, RFC 8866 §9).
    #[error("the mid {0:?} cannot be used: it is no token of 1 to 255 characters")]
    UnusableMid(String),
    /// An `a=setup` other than `actpass`, `active` and `passive` (RFC 8842 §5.1): `holdconn`, for one.
    #[error("a=setup:{0} cannot be used: actpass, active and passive can")]
    UnusableSetup(String),
    /// The description has fewer sections than the one before it (RFC 3264 §8).
    #[error("{found} sections where there were {before}")]
    FewerSections {
        /// Sections of this description.
        found: usize,
        /// Sections of the one before it.
        before: usize,
    },
    /// An answer has another number of sections than its offer (RFC 3264 §6).
    #[error("{found} sections in the answer to an offer of {offered}")]
    OtherNumberOfSections {
        /// Sections of the answer.
        found: usize,
        /// Sections of the offer.
        offered: usize,
    },
    /// A section's `a=mid` differs from before (RFC 8829 §5.8).
    #[error("section {section} has the mid {found:?} instead of {expected:?}")]
    OtherMid {
        /// Number of the section, from 0.
        section: usize,
        /// Expected mid.
        expected: String,
        /// Mid that was found.
        found: String,
    },
    /// A section carries another kind of media than before.
    #[error("section {section} is {found:?} instead of {expected:?}")]
    OtherKind {
        /// Number of the section, from 0.
        section: usize,
        /// Expected kind.
        expected: MediaKind,
        /// Kind that was found.
        found: MediaKind,
    },
    /// The answer accepts a section that the offer rejected.
    #[error("section {0} was rejected in the offer, and is accepted in the answer")]
    AcceptsRejected(usize),
    /// There is no `a=ice-ufrag` or no `a=ice-pwd`.
    #[error("the description has no ICE credentials")]
    NoIceCredentials,
    /// The ICE credentials are too short or too long (RFC 8839 §5.4).
    #[error("the ICE credentials are not of 4 to 256 and 22 to 256 characters")]
    BadIceCredentials,
    /// The answer has other credentials than before, though the offer did not restart ICE.
    #[error("the answer restarts ICE, which the offer did not ask for")]
    RestartInAnswer,
    /// There is no `a=fingerprint`.
    #[error("the description has no certificate fingerprint")]
    NoFingerprint,
    /// No `a=fingerprint` can be read (RFC 8122 §5); this is the first.
    #[error("the certificate fingerprint {found:?} cannot be used: {reason}")]
    UnusableFingerprint {
        /// First 40 characters of the fingerprint.
        found: String,
        /// Reason why it cannot be read.
        reason: FingerprintError,
    },
    /// The fingerprint is of another certificate than the one of this connection.
    #[error("the certificate fingerprint is not the one of this connection")]
    OtherFingerprint,
    /// Both sides would wait for checks (RFC 8445 §6.1.1).
    #[error("both sides are ICE-lite")]
    BothLite,
    /// A section of RTP without `a=rtcp-mux` (RFC 8834 §4.5).
    #[error("section {0} does not multiplex RTCP")]
    NoRtcpMux(usize),
    /// A payload type means one thing in one section and another in a second one (RFC 8843 §10.1.2), or another than
    /// before.
    #[error("the payload type {0:?} has two meanings")]
    PayloadTypeReused(String),
    /// The answer has `a=setup:actpass` (RFC 8842 §5.3).
    #[error("the answer does not choose a DTLS role")]
    RoleNotChosen,
    /// The answer's `a=setup` differs from the one of this connection.
    #[error("the answer changes the DTLS role")]
    OtherRole,
}

/// Reason why a description was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetDescriptionError {
    /// The description is not allowed in this signaling state (W3C `InvalidStateError`).
    #[error("no {side} {kind} in the state {state}")]
    InvalidState {
        /// `local` or `remote`.
        side: &'static str,
        /// Type of the description.
        kind: SdpType,
        /// Signaling state of the connection.
        state: SignalingState,
    },
    /// The local description is not the one that was created last (W3C `InvalidModificationError`); candidates are not
    /// compared.
    #[error(
        "the description is not the one that was created: line {line} is {found:?} instead of {expected:?}"
    )]
    InvalidModification {
        /// Number of the first line that differs, from 1.
        line: usize,
        /// The line as it was created.
        expected: String,
        /// The line as it was found.
        found: String,
    },
    /// The remote description cannot be used.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The peer's offer was answered already, and this change of it cannot be rolled back.
    #[error("the remote offer was already answered; its {0} cannot be rolled back")]
    CannotRollBack(&'static str),
    /// An implicit offer could not be created.
    #[error(transparent)]
    CreateOffer(#[from] CreateOfferError),
    /// An implicit answer could not be created.
    #[error(transparent)]
    CreateAnswer(#[from] CreateAnswerError),
    /// The engine refused a description that had passed the checks; the connection has ended.
    #[error("the description cannot be applied: {0}")]
    Engine(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why an offer was not answered by [`AcceptOffer`](crate::messages::AcceptOffer). The connection is then as
/// after the step that failed, had the steps been taken one by one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptOfferError {
    /// The description is no offer. Nothing has changed.
    #[error("the description is no offer but {0}")]
    NotAnOffer(SdpType),
    /// The offer was not set. Nothing has changed.
    #[error(transparent)]
    Offer(SetDescriptionError),
    /// The offer is set, and there is no answer to it. The offer can be rolled back, or replaced by another.
    #[error(transparent)]
    Answer(SetDescriptionError),
}

impl From<AcceptOfferError> for SetDescriptionError {
    /// Returns the error of the step that failed.
    fn from(error: AcceptOfferError) -> Self {
        match error {
            AcceptOfferError::NotAnOffer(kind) => {
                DescriptionError::Syntax(format!("it is no offer but {kind}")).into()
            }
            AcceptOfferError::Offer(error) | AcceptOfferError::Answer(error) => error,
        }
    }
}

/// Reason why no offer was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateOfferError {
    /// Offers are made only in `stable` and `have-local-offer` (W3C `InvalidStateError`).
    #[error("no offer in the state {0}")]
    InvalidState(SignalingState),
    /// ICE was to be restarted before anything was negotiated.
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

/// Reason why no answer was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateAnswerError {
    /// Answers are made only in `have-remote-offer` and `have-local-pranswer` (W3C `InvalidStateError`).
    #[error("no answer in the state {0}")]
    InvalidState(SignalingState),
    /// The engine refused an offer that had passed the checks; the connection has ended.
    #[error("the offer cannot be applied: {0}")]
    Engine(String),
    /// The engine could not read an offer that had passed the checks. Nothing has changed: the offer can be rolled
    /// back.
    #[error("the offer cannot be read: {0}")]
    Unreadable(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why a track was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddTrackError {
    /// The track's codec is neither `audio` nor `video`, or is not in this connection's media engine.
    #[error("invalid track: {0}")]
    InvalidTrack(String),
    /// The track has a sender already (W3C `InvalidAccessError`).
    #[error("the track has a sender already")]
    AlreadyAdded,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why no transceiver was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddTransceiverError {
    /// The track is not valid.
    #[error(transparent)]
    Track(#[from] AddTrackError),
    /// An encoding's name is not valid, or two encodings have the same name.
    #[error(transparent)]
    Encoding(#[from] ParseRidError),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why a transceiver or sender was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransceiverError {
    /// No transceiver or sender has this id.
    #[error("not found")]
    NotFound,
    /// The transceiver is stopped (W3C `InvalidStateError`).
    #[error("the transceiver is stopped")]
    Stopped,
    /// The track is of the other kind (W3C `TypeError`).
    #[error("a {0} track cannot replace one of the other kind")]
    OtherKind(crate::TrackKind),
    /// The peer has not agreed to this codec (W3C `InvalidModificationError`).
    #[error("the codec {0} was not negotiated")]
    NotNegotiated(String),
    /// This connection's media engine does not have this codec (W3C `InvalidModificationError`).
    #[error("the media engine has no codec {0}")]
    UnknownCodec(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why slots were not taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferSlotsError {
    /// No offer of the peer waits for its answer (W3C `InvalidStateError`).
    #[error("there is no offer to answer in the signaling state {0}")]
    InvalidState(SignalingState),
}

/// Reason why a sample or packet was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No sender has this id.
    #[error("not found")]
    NotFound,
    /// The sender has no track, or its transceiver's negotiated direction does not let it send.
    #[error("the sender does not send")]
    NotSending,
    /// The connection is not connected; what is written before is lost, as live media is.
    #[error("the connection is not connected")]
    NotConnected,
    /// The peer has not agreed to the track's codec, or to this payload type.
    #[error("the codec was not negotiated")]
    NotNegotiated,
    /// The sender has no such encoding.
    #[error("no such encoding")]
    UnknownEncoding,
    /// Samples are for connections in sample mode, packets for those in RTP mode.
    #[error("the connection is in the other media mode")]
    OtherMode,
    /// The payload of a packet, with its long header extensions, is larger than 1,500 bytes, which no path carries.
    #[error("the payload is too large")]
    TooLarge,
    /// [`RtpPacket::vp8`](crate::RtpPacket) is set, and the payload has no VP8 descriptor.
    #[error("the payload is not VP8")]
    NotVp8,
    /// Any other error of the engine.
    #[error("{0}")]
    Engine(String),
}

/// Reason why no key frame was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyframeError {
    /// No transceiver has this id.
    #[error("not found")]
    NotFound,
    /// Nothing is received through the transceiver, or not this encoding.
    #[error("nothing is being received")]
    NotReceiving,
}

/// Reason why a tone is not played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DtmfError {
    /// No sender has this id.
    #[error("not found")]
    NotFound,
    /// The sender does not send audio, or the peer has not agreed to `telephone-event`.
    #[error("the sender cannot play tones")]
    CannotInsert,
    /// A character is not a tone (W3C `InvalidCharacterError`).
    #[error("{0:?} is no tone")]
    NoTone(char),
    /// More tones than may wait.
    #[error("too many tones")]
    TooMany,
}

/// Reason why a candidate was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddIceCandidateError {
    /// There is no remote description yet (W3C `InvalidStateError`).
    #[error("remote description is not set")]
    NoRemoteDescription,
    /// The candidate has neither `sdpMid` nor `sdpMLineIndex` (W3C `TypeError`).
    #[error("the candidate names no section")]
    NoSection,
    /// The section is not in the remote description (W3C `OperationError`).
    #[error("the candidate names a section that is not there")]
    UnknownSection,
    /// The text is not a candidate (W3C `OperationError`).
    #[error("no candidate: {0:?}")]
    Syntax(String),
    /// The candidate's address is one to which no peer may have this side send.
    #[error(transparent)]
    Refused(#[from] callboard_transport::gather::CheckRemoteError),
    /// There are more candidates than any real peer has.
    #[error("too many candidates")]
    TooMany,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why no data channel was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateDataChannelError {
    /// `max_retransmits` and `max_packet_life_time` exclude each other (W3C `TypeError`).
    #[error("a channel is limited by its retransmissions or by their time, not by both")]
    BothLimits,
    /// Label and protocol are longer than the message that opens a channel can carry here (W3C `TypeError`, at 65,535
    /// bytes each).
    #[error("label and protocol together are longer than 1,200 bytes")]
    TooLong,
    /// A channel that both sides declare needs an id (W3C `TypeError`).
    #[error("a negotiated channel needs an id")]
    NoId,
    /// 65,535 is not an id, nor is a number for which the association has no stream (W3C `TypeError`,
    /// `OperationError`).
    #[error("{0} is no channel's id")]
    BadId(u16),
    /// Another channel has this id (W3C `OperationError`).
    #[error("the id {0} is taken")]
    IdTaken(u16),
    /// The connection has as many channels as it may have.
    #[error("too many channels")]
    TooMany,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Reason why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendDataError {
    /// No channel has this id.
    #[error("not found")]
    NotFound,
    /// The channel is not open: not yet, or no longer (W3C `InvalidStateError`).
    #[error("the channel is not open")]
    NotOpen,
    /// Too many bytes wait to be sent (W3C `OperationError`).
    #[error("the channel's buffer is full")]
    BufferFull,
    /// The message is larger than one message can be (W3C `TypeError`).
    #[error("a message of {size} bytes, where {limit} can be sent")]
    TooLarge {
        /// Bytes of the message.
        size: usize,
        /// Largest message in bytes: `a=max-message-size` of the peer (RFC 8841 §6), or the most that this side sends
        /// if that is less: 256 KiB, or [`ApiSettings::max_message_size`](crate::ApiSettings::max_message_size) if
        /// larger.
        limit: usize,
    },
    /// The message is empty: after one the SCTP library below would never send anything again on this channel.
    #[error("empty messages cannot be sent")]
    Empty,
}

/// Reason why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverDataError {
    /// The message was not sent.
    #[error("not sent: {0}")]
    NotSent(#[from] SendDataError),
    /// The channel or the connection has ended before the peer acknowledged the message: it has arrived or not.
    #[error("the channel has ended before the message was acknowledged")]
    Lost,
}

/// Reason why no loss was injected.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectLossError {
    /// The ratio is not between 0 and 1.
    #[error("{0} is not between 0 and 1")]
    BadRatio(f64),
}
