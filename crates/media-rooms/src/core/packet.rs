//! What a forwarder knows of a packet beyond its RTP header. Each packet is read once, however many receive it.

use callboard_peer_connection::RtpCodecCapability;

use super::vp8::PictureId;
use super::{av1, h264, red, vp8, vp9};

/// Coding of a stream, as far as forwarding depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// Opus (RFC 7587).
    Opus,
    /// Opus with copies of earlier frames (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 (RFC 6184).
    H264,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1.
    Av1,
    /// Another audio codec: each packet can be decoded by itself.
    OtherAudio,
    /// Another video codec. Where its key frames are is not known, so viewers get it from where they come in, and a key
    /// frame is asked for.
    OtherVideo,
}

impl Coding {
    /// Returns the codec with this description; none if that is of neither audio nor video.
    pub(crate) fn of(description: &RtpCodecCapability) -> Option<Self> {
        use callboard_peer_connection::TrackKind::*;
        let name = description.name().unwrap_or_default();
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        Some(match description.kind()? {
            Audio if is("opus") => Self::Opus,
            Audio if is("red") => Self::Red,
            Audio => Self::OtherAudio,
            Video if is("VP8") => Self::Vp8,
            Video if is("H264") => Self::H264,
            Video if is("VP9") => Self::Vp9,
            Video if is("AV1") => Self::Av1,
            Video => Self::OtherVideo,
        })
    }
}

/// Contents of a packet, as far as forwarding depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Whether a receiver can begin with this packet.
    pub(crate) entry: bool,
    /// Whether it is a frame by itself, as all sound is.
    pub(crate) whole: bool,
    /// Width and height in pixels, where the stream says them.
    pub(crate) size: Option<(u16, u16)>,
    /// Temporal layer; 0 if there is none.
    pub(crate) temporal: u8,
    /// Whether a receiver can begin with this temporal layer here.
    pub(crate) layer_sync: bool,
    pub(crate) picture_id: Option<PictureId>,
    pub(crate) tl0: Option<u8>,
}

/// Error of a packet that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentsError {
    /// Padding alone, which probes a path (RFC 3550 §5.1); its number is closed up.
    #[error("padding")]
    Padding,
    /// A payload that breaks its format; receivers could not use it.
    #[error("malformed")]
    Malformed,
}

/// Reads the payload of a packet.
pub(crate) fn read(codec: Coding, payload: &[u8]) -> Result<Contents, ContentsError> {
    if payload.is_empty() {
        return Err(ContentsError::Padding);
    }
    match codec {
        Coding::Opus | Coding::OtherAudio => {
            Ok(Contents { entry: true, whole: true, ..Contents::default() })
        }
        Coding::Red => {
            red::primary(payload).map_err(|_| ContentsError::Malformed)?;
            Ok(Contents { entry: true, whole: true, ..Contents::default() })
        }
        Coding::OtherVideo => Ok(Contents { entry: true, ..Contents::default() }),
        Coding::Vp8 => {
            let read = vp8::parse(payload).map_err(|_| ContentsError::Malformed)?;
            Ok(Contents {
                entry: read.keyframe,
                whole: false,
                size: read.size,
                temporal: read.temporal,
                layer_sync: read.layer_sync,
                picture_id: read.picture_id,
                tl0: read.tl0,
            })
        }
        Coding::H264 => {
            let read = h264::parse(payload).map_err(|_| ContentsError::Malformed)?;
            Ok(Contents { entry: read.parameters, ..Contents::default() })
        }
        Coding::Vp9 => {
            let read = vp9::parse(payload).map_err(|_| ContentsError::Malformed)?;
            Ok(Contents { entry: read.keyframe, size: read.size, ..Contents::default() })
        }
        Coding::Av1 => {
            let read = av1::parse(payload).map_err(|_| ContentsError::Malformed)?;
            Ok(Contents { entry: read.keyframe, ..Contents::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_known_by_their_names() {
        let of = |mime: &str| Coding::of(&RtpCodecCapability::new(mime));

        assert_eq!(of("audio/opus"), Some(Coding::Opus));
        assert_eq!(of("audio/red"), Some(Coding::Red));
        assert_eq!(of("audio/PCMU"), Some(Coding::OtherAudio));
        assert_eq!(of("video/vp8"), Some(Coding::Vp8));
        assert_eq!(of("video/H264"), Some(Coding::H264));
        assert_eq!(of("video/VP9"), Some(Coding::Vp9));
        assert_eq!(of("video/AV1"), Some(Coding::Av1));
        assert_eq!(of("video/H265"), Some(Coding::OtherVideo));
        assert_eq!(of("text/plain"), None);
    }

    #[test]
    fn padding_is_not_forwarded_with_any_codec() {
        use Coding::*;
        for codec in [Opus, Red, Vp8, H264, Vp9, Av1, OtherAudio, OtherVideo] {
            assert_eq!(read(codec, &[]), Err(ContentsError::Padding));
        }
    }

    #[test]
    fn receivers_begin_with_a_key_frame_and_with_any_sound() {
        assert!(read(Coding::Opus, &[0xfc]).unwrap().entry);
        assert!(read(Coding::Red, &[111, 0xfc]).unwrap().entry);
        assert_eq!(read(Coding::Red, &[0x80 | 111, 0xfc]), Err(ContentsError::Malformed));
        assert!(read(Coding::Vp8, &[0x10, 0]).unwrap().entry);
        assert!(!read(Coding::Vp8, &[0x10, 1]).unwrap().entry);
        assert!(read(Coding::H264, &[0x67, 0]).unwrap().entry);
        assert!(!read(Coding::H264, &[0x65, 0]).unwrap().entry, "no parameter sets");
        assert!(read(Coding::Vp9, &[0x08]).unwrap().entry);
        assert!(!read(Coding::Vp9, &[0x48]).unwrap().entry);
        assert!(read(Coding::Av1, &[0x08]).unwrap().entry);
        assert!(!read(Coding::Av1, &[0x10]).unwrap().entry);
        assert_eq!(read(Coding::Vp8, &[0x90]), Err(ContentsError::Malformed));
    }
}
