//! Tracks, transceivers, and the samples and packets that flow through them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::header_extensions::HeaderExtensions;

/// Kind of media of a track (W3C `MediaStreamTrack.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "W3C's")]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl TrackKind {
    /// Returns the kind of a MIME type, or of its first part alone.
    pub fn of_mime_type(mime_type: &str) -> Option<Self> {
        let kind = mime_type.split('/').next().unwrap_or_default();
        if kind.eq_ignore_ascii_case("audio") {
            Some(Self::Audio)
        } else if kind.eq_ignore_ascii_case("video") {
            Some(Self::Video)
        } else {
            None
        }
    }

    /// Returns its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

impl fmt::Display for TrackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Direction of media, seen from this side (W3C `RTCRtpTransceiverDirection`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "RFC 8866's")]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// Only to the peer.
    SendOnly,
    /// Only from the peer.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Returns the direction in which this side sends, receives, or both.
    pub fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Returns whether media goes to the peer.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Returns whether media comes from the peer.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns the same direction, seen from the other side.
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// Returns the direction that both allow.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// Returns its name in SDP (RFC 8866 §6.7).
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Returns the direction of this name in SDP; without a name it is `sendrecv`.
    pub(crate) fn of_sdp(name: Option<&str>) -> Self {
        match name {
            Some("sendonly") => Self::SendOnly,
            Some("recvonly") => Self::RecvOnly,
            Some("inactive") => Self::Inactive,
            _ => Self::SendRecv,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! identities {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            pub(crate) fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

identities! {
    /// Identifier of a transceiver in its connection.
    TransceiverId
    /// Identifier of a sender in its connection: the half of a transceiver that sends to the peer.
    SenderId
}

/// A codec, in the form of W3C's `RTCRtpCodec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RtpCodecCapability {
    /// `video/VP8`; also `video` alone, for any codec of that kind that was negotiated.
    pub mime_type: String,
    /// Clock rate in Hz; 0 for the codec's usual one.
    pub clock_rate: u32,
    /// Number of audio channels; 0 for the codec's usual number.
    pub channels: u16,
    /// `a=fmtp` parameters; empty for any.
    pub sdp_fmtp_line: String,
}

impl RtpCodecCapability {
    /// Creates a codec from its MIME type.
    pub fn new(mime_type: impl Into<String>) -> Self {
        Self { mime_type: mime_type.into(), ..Self::default() }
    }

    /// Returns the kind of media; none for a MIME type that is neither audio nor video.
    pub fn kind(&self) -> Option<TrackKind> {
        TrackKind::of_mime_type(&self.mime_type)
    }

    /// Returns its name alone: `VP8`; none if only the kind is given.
    pub fn name(&self) -> Option<&str> {
        self.mime_type.split_once('/').map(|(_, name)| name).filter(|name| !name.is_empty())
    }
}

/// A track whose samples the application writes (webrtc-rs' `TrackLocalStaticSample`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTrack {
    /// Id of the track, as the peer sees it.
    pub id: String,
    /// Id of the stream to which it belongs, as the peer sees it; tracks of one stream are played in step.
    pub stream_id: String,
    /// Codec of its samples.
    pub codec: RtpCodecCapability,
}

impl LocalTrack {
    /// Creates a track of this codec.
    pub fn new(
        codec: RtpCodecCapability,
        id: impl Into<String>,
        stream_id: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), stream_id: stream_id.into(), codec }
    }
}

/// Name of a simulcast encoding (RFC 8851), at most 8 letters and digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rid {
    name: [u8; 8],
    length: u8,
}

/// Error of a text that cannot name an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an encoding's name has 1 to 8 letters and digits")]
pub struct ParseRidError;

impl Rid {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.name[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl FromStr for Rid {
    type Err = ParseRidError;

    fn from_str(text: &str) -> Result<Self, ParseRidError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > 8 || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(ParseRidError);
        }
        let mut name = [0; 8];
        name[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { name, length: bytes.len() as u8 })
    }
}

impl fmt::Debug for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An encoded frame to send.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The frame; one access unit.
    pub data: Arc<[u8]>,
    /// Duration of the frame: the time of the next one follows from it.
    pub duration: Duration,
    /// Time in units of the codec's clock; none to follow the frame before it.
    pub timestamp: Option<u64>,
    /// Time of capture; none for now.
    pub captured: Option<Instant>,
    /// Encoding of simulcast that it belongs to.
    pub rid: Option<Rid>,
}

impl Sample {
    /// Creates a frame of this duration.
    pub fn new(data: impl Into<Arc<[u8]>>, duration: Duration) -> Self {
        Self { data: data.into(), duration, timestamp: None, captured: None, rid: None }
    }
}

impl From<&ReceivedSample> for Sample {
    /// Returns the frame as it is forwarded to another peer: with its time, and in one encoding.
    fn from(received: &ReceivedSample) -> Self {
        Self {
            timestamp: Some(received.timestamp),
            captured: Some(received.captured.unwrap_or(received.received)),
            ..Self::new(Arc::clone(&received.data), Duration::ZERO)
        }
    }
}

/// A frame that came from the peer, complete and in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedSample {
    /// Transceiver that received it.
    pub transceiver: TransceiverId,
    /// Encoding of simulcast that it belongs to.
    pub rid: Option<Rid>,
    /// The frame.
    pub data: Arc<[u8]>,
    /// Codec of the frame.
    pub codec: Arc<RtpCodecCapability>,
    /// Its payload type.
    pub payload_type: u8,
    /// Time in units of the codec's clock, which never wraps.
    pub timestamp: u64,
    /// Time at which its first packet was received.
    pub received: Instant,
    /// Time at which it was captured, on this machine's clock, by the peer's [reports](crate::SenderReport): all
    /// streams of a peer have one clock, so those who get them play them in step. Never later than `received`; none
    /// before the first report on its stream.
    pub captured: Option<Instant>,
    /// Whether it follows the frame before it with none missing.
    pub contiguous: bool,
    /// Whether it can be decoded by itself.
    pub keyframe: bool,
    /// Audio level in dB below the loudest, 0 to −127, if the peer sends it (RFC 6464).
    pub audio_level: Option<i8>,
}

/// A packet of RTP (RFC 3550), with the fields that a forwarder changes and keeps. For connections in
/// [`MediaMode::Rtp`](crate::MediaMode::Rtp).
#[derive(Clone, Debug)]
pub struct RtpPacket {
    /// Transceiver that received it; ignored in a packet to send.
    pub transceiver: TransceiverId,
    /// Encoding of simulcast that it belongs to.
    pub rid: Option<Rid>,
    /// Its payload type, on this connection.
    pub payload_type: u8,
    /// Its sequence number, which never wraps.
    pub sequence_number: u64,
    /// Time in units of the codec's clock.
    pub timestamp: u32,
    /// Whether it is the last packet of a frame, or the first after silence.
    pub marker: bool,
    /// Time at which it was received, or which counts as its time of sending.
    pub at: Instant,
    /// Time at which its frame was captured, on this machine's clock, by the peer's [reports](crate::SenderReport): all
    /// streams of a peer have one clock. Never later than `at`; none before the first report on its stream. In a packet
    /// to send: the time that this side's reports give it, so that what is forwarded is played in step. Default: `at`.
    pub captured: Option<Instant>,
    /// Its payload, without header and padding. Empty in a packet of padding alone, as senders probe with: a forwarder
    /// leaves such a packet out and closes the gap in the numbers, or the next receiver asks for it.
    pub payload: Arc<[u8]>,
    /// Audio level in dB below the loudest, 0 to −127 (RFC 6464).
    pub audio_level: Option<i8>,
    /// Other header extensions. Those that the peer has not agreed to are left out.
    pub extensions: HeaderExtensions,
    /// Fields of a VP8 payload's descriptor that are replaced as it is sent; the payload itself stays shared. None in a
    /// received packet.
    pub vp8: Option<Vp8Rewrite>,
}

/// New values of a VP8 payload descriptor (RFC 7741 §4.2), for a stream that is put together from several. A field that
/// the descriptor lacks is left out, and a value is cut to the field's width: no payload changes its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Rewrite {
    /// `PictureID`, of 15 or 7 bits. Default: as it came.
    pub picture_id: Option<u16>,
    /// `TL0PICIDX`. Default: as it came.
    pub tl0_picture_index: Option<u8>,
    /// `KEYIDX`, of 5 bits. Default: as it came.
    pub key_index: Option<u8>,
}

/// Position of a stream of packets: the packet with the highest number that was written. An application that has
/// forgotten where it was goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderPosition {
    /// Its sequence number, in the application's numbering.
    pub sequence_number: u64,
    /// Its time, in units of the codec's clock.
    pub timestamp: u32,
    /// What was replaced in its VP8 descriptor.
    pub vp8: Option<Vp8Rewrite>,
}

/// RTCP message that asks for a key frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyframeRequestKind {
    /// Picture loss indication (RFC 4585 §6.3.1).
    #[default]
    Pli,
    /// Full intra request (RFC 5104 §4.3.1).
    Fir,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_reversed_and_met() {
        use Direction::*;
        assert_eq!(
            [SendRecv, SendOnly, RecvOnly, Inactive].map(Direction::reversed),
            [SendRecv, RecvOnly, SendOnly, Inactive]
        );
        assert_eq!(SendRecv.intersection(RecvOnly), RecvOnly);
        assert_eq!(SendOnly.intersection(RecvOnly), Inactive);
    }

    #[test]
    fn a_rid_is_short_and_plain() {
        assert_eq!("hi".parse::<Rid>().unwrap().as_str(), "hi");
        for bad in ["", "123456789", "a-b", "ä"] {
            assert_eq!(bad.parse::<Rid>(), Err(ParseRidError));
        }
    }

    #[test]
    fn a_codec_may_be_a_kind_alone() {
        assert_eq!(RtpCodecCapability::new("audio").kind(), Some(TrackKind::Audio));
        assert_eq!(RtpCodecCapability::new("video/VP8").name(), Some("VP8"));
        assert_eq!(RtpCodecCapability::new("text").kind(), None);
    }
}
