//! Header extensions of RTP (RFC 8285): which a connection agrees on, and what they say.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Header extension that a connection may agree on, as [`ApiSettings::extensions`](crate::ApiSettings::extensions)
/// choose. Others are not chosen: MID and RIDs are always agreed on, and the numbers of transport-wide congestion
/// control where [its feedback](crate::InterceptorRegistry::transport_wide_feedback) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderExtension {
    /// Level of sound, and whether it is a voice: [`RtpPacket::audio_level`](crate::RtpPacket::audio_level) (RFC 6464).
    AudioLevel,
    /// Time of sending, by which a receiver estimates the bandwidth of the path (REMB; draft-alvestrand-rmcat-remb,
    /// `abs-send-time` of libwebrtc). It is made anew for each connection.
    AbsoluteSendTime,
    /// Rotation of pictures: [`HeaderExtensions::video_orientation`] (3GPP TS 26.114 §7.4.5).
    VideoOrientation,
    /// Time of capture: [`HeaderExtensions::capture_time`] (`abs-capture-time` of libwebrtc). Browsers show it as
    /// `captureTimestamp` of an RTP source (W3C WebRTC Extensions).
    AbsoluteCaptureTime,
    /// Bounds of the time that a receiver may hold pictures back: [`HeaderExtensions::playout_delay`] (`playout-delay`
    /// of libwebrtc).
    PlayoutDelay,
    /// Layers that a sender of video sends: [`HeaderExtensions::video_layers`] (`video-layers-allocation00` of
    /// libwebrtc).
    VideoLayersAllocation,
    /// Which frames a frame of video needs: [`HeaderExtensions::dependency_descriptor`] (AV1 RTP specification,
    /// appendix A; also for other codecs).
    DependencyDescriptor,
}

impl HeaderExtension {
    /// Returns the URI that names it in descriptions (RFC 8285 §5).
    pub fn uri(self) -> &'static str {
        match self {
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsoluteSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::AbsoluteCaptureTime => {
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
            }
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::VideoLayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// Extensions that are agreed on unless others are chosen.
    pub(crate) const DEFAULT: [Self; 3] =
        [Self::AudioLevel, Self::AbsoluteSendTime, Self::VideoOrientation];
}

/// Header extensions of a packet (RFC 8285) that travel with its contents from one connection to another.
///
/// Extensions that belong to one connection (MID, RID, send times, transport-wide numbers) are made anew. Those that
/// the connection [has not agreed on](crate::ApiSettings::extensions) are neither read nor sent.
#[derive(Clone, Default, PartialEq)]
pub struct HeaderExtensions {
    /// Whether the packet contains a voice (RFC 6464). Default: unknown, which is sent as no beside an audio level.
    pub voice_activity: Option<bool>,
    /// Rotation of the picture when it is shown (3GPP TS 26.114 §7.4.5). Default: not sent.
    pub video_orientation: Option<VideoOrientation>,
    /// When the frame was captured. Senders leave it out where it follows from an earlier packet. Default: not sent.
    pub capture_time: Option<Arc<CaptureTime>>,
    /// Bounds of the time from receiving the frame to showing it. Default: not sent.
    pub playout_delay: Option<Arc<PlayoutDelay>>,
    /// Layers that the sender of video sends, as they came: [`VideoLayers::parse`] reads them. Senders add them to some
    /// packets of key frames, and where they change. Default: not sent.
    pub video_layers: Option<Arc<[u8]>>,
    /// Which frames this frame of video needs, as it came (AV1 RTP specification, appendix A.8): it is read with what
    /// earlier packets of the stream said. Default: not sent.
    ///
    /// With more than 16 bytes, as in key frames, the packet has the longer form of extensions (RFC 8285 §4.3), which
    /// peers must agree to by `a=extmap-allow-mixed`, as browsers do.
    pub dependency_descriptor: Option<Arc<[u8]>>,
    pub(crate) others: Option<Arc<str0m::rtp::ExtensionValues>>,
}

impl HeaderExtensions {
    /// Returns how many bytes those take whose length is not small and fixed.
    pub(crate) fn long(&self) -> usize {
        let length = |bytes: &Option<Arc<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        length(&self.video_layers) + length(&self.dependency_descriptor)
    }
}

impl fmt::Debug for HeaderExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderExtensions")
            .field("voice_activity", &self.voice_activity)
            .field("video_orientation", &self.video_orientation)
            .field("capture_time", &self.capture_time)
            .field("playout_delay", &self.playout_delay)
            .field("video_layers", &self.video_layers)
            .field("dependency_descriptor", &self.dependency_descriptor)
            .finish_non_exhaustive()
    }
}

/// Rotation of a picture, clockwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "four quarters of a turn")]
pub enum VideoOrientation {
    /// No rotation.
    Upright,
    /// 90°.
    Quarter,
    /// 180°.
    Half,
    /// 270°.
    ThreeQuarters,
}

/// Time at which a frame was captured (`abs-capture-time` of libwebrtc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "fields of an extension that is fixed")]
pub struct CaptureTime {
    /// Time by the clock of the system that captured it: in NTP's format on the wire, exact to a microsecond.
    pub time: SystemTime,
    /// What the sender believes that clock to be ahead of its own, in units of 2⁻³² s. None where it says nothing of
    /// it.
    pub clock_offset: Option<i64>,
}

/// Bounds of the time from receiving a frame to showing it (`playout-delay` of libwebrtc): on the wire in steps of 10
/// ms, at most 40.95 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "fields of an extension that is fixed")]
pub struct PlayoutDelay {
    /// Least time: 0 for frames that are shown as soon as possible.
    pub min: Duration,
    /// Longest time.
    pub max: Duration,
}

/// Layers that a sender of video sends over all of its streams (`video-layers-allocation00` of libwebrtc).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VideoLayers {
    /// Number of the stream in whose packet this came: its place among the encodings of simulcast.
    pub stream: u8,
    /// Layers that are sent now. Empty if none is.
    pub layers: Vec<VideoLayer>,
}

/// Spatial layer that a sender of video sends; of simulcast without layers within its encodings, an encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VideoLayer {
    /// Number of its stream: the place among the encodings of simulcast.
    pub stream: u8,
    /// Its number among the layers of that stream.
    pub spatial: u8,
    /// Bits per second that are meant for its temporal layers, each with all below it.
    pub bitrates: Vec<u64>,
    /// Size and rate of its pictures, if the sender says them.
    pub format: Option<VideoFormat>,
}

/// Size and rate of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VideoFormat {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Most frames in a second.
    pub frame_rate: u8,
}

impl VideoLayers {
    /// Reads the extension's value. Returns none if it is malformed.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (&first, mut rest) = value.split_first()?;
        if first == 0 && rest.is_empty() {
            return Some(Self::default());
        }
        let (streams, shared) = ((first >> 4 & 3) + 1, first & 0xf);
        let mut layers = Vec::new();
        for stream in 0..streams {
            let active = match shared {
                0 => rest.get(usize::from(stream / 2))? >> (4 * (1 - stream % 2)) & 0xf,
                shared => shared,
            };
            let spatial = (0..4).filter(|spatial| active & 1 << spatial != 0);
            let bitrates = Vec::new;
            layers.extend(spatial.map(|spatial| VideoLayer {
                stream,
                spatial,
                bitrates: bitrates(),
                format: None,
            }));
        }
        if shared == 0 {
            rest = rest.get(usize::from(streams.div_ceil(2))..)?;
        }
        let (counts, mut rest) = rest.split_at_checked(layers.len().div_ceil(4))?;
        for (at, layer) in layers.iter_mut().enumerate() {
            let count = (counts[at / 4] >> (6 - 2 * (at % 4)) & 3) + 1;
            for _ in 0..count {
                layer.bitrates.push(leb128(&mut rest)?.checked_mul(1_000)?);
            }
        }
        // The last part may be missing as a whole.
        if !rest.is_empty() {
            for layer in &mut layers {
                let (&[w, x, y, z, frame_rate], others) = rest.split_first_chunk()?;
                rest = others;
                let [width, height] =
                    [[w, x], [y, z]].map(|less_one| u32::from(u16::from_be_bytes(less_one)) + 1);
                layer.format = Some(VideoFormat { width, height, frame_rate });
            }
        }
        rest.is_empty().then_some(Self { stream: first >> 6, layers })
    }
}

/// Takes a number in the format LEB128: seven bits in a byte, the lowest first.
fn leb128(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..LONGEST_NUMBER {
        let (&byte, others) = rest.split_first()?;
        *rest = others;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Bytes of the longest number of kbit/s: 35 bits are more than any path has.
const LONGEST_NUMBER: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer(stream: u8, spatial: u8, kbps: &[u64], format: Option<(u32, u32, u8)>) -> VideoLayer {
        let format =
            format.map(|(width, height, frame_rate)| VideoFormat { width, height, frame_rate });
        let bitrates = kbps.iter().map(|kbps| kbps * 1_000).collect();
        VideoLayer { stream, spatial, bitrates, format }
    }

    #[test]
    fn three_encodings_of_simulcast_have_a_layer_each() {
        let sizes = [1, 63, 0, 179, 15, 2, 127, 1, 103, 30, 4, 255, 2, 207, 30];
        // RID 1, three streams, one layer in each; two temporal layers in each.
        let value =
            [&[0b0110_0001, 0b0101_0100, 50, 100, 100, 0xc8, 1, 0xac, 2, 0xdc, 11][..], &sizes]
                .concat();

        let read = VideoLayers::parse(&value).unwrap();

        assert_eq!(read.stream, 1);
        assert_eq!(
            read.layers,
            [
                layer(0, 0, &[50, 100], Some((320, 180, 15))),
                layer(1, 0, &[100, 200], Some((640, 360, 30))),
                layer(2, 0, &[300, 1_500], Some((1_280, 720, 30))),
            ]
        );
        for cut in 1..value.len() {
            let is_whole = cut == value.len() - sizes.len();
            assert_eq!(VideoLayers::parse(&value[..cut]).is_some(), is_whole, "{cut} bytes");
        }
        assert_eq!(VideoLayers::parse(&[&value[..], &[0]].concat()), None, "one byte too many");
    }

    #[test]
    fn streams_may_have_different_layers() {
        // Two streams: layers 0 and 1 of the first, none of the second.
        let read = VideoLayers::parse(&[0b0001_0000, 0b0011_0000, 0b0000_0000, 7, 9]).unwrap();
        assert_eq!(read.layers, [layer(0, 0, &[7], None), layer(0, 1, &[9], None)]);

        // Of three, the last alone: the masks take two bytes.
        let read = VideoLayers::parse(&[0b1010_0000, 0, 0b0100_0000, 0, 7]).unwrap();
        assert_eq!((read.stream, read.layers), (2, vec![layer(2, 2, &[7], None)]));

        assert_eq!(VideoLayers::parse(&[0]), Some(VideoLayers::default()), "nothing is sent");
        assert_eq!(VideoLayers::parse(&[]), None);
        // Too long for a number, and too large for one.
        assert_eq!(VideoLayers::parse(&[1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), None);
        // The largest size.
        let read = VideoLayers::parse(&[1, 0, 1, 255, 255, 255, 255, 255]).unwrap();
        assert_eq!(read.layers, [layer(0, 0, &[1], Some((65_536, 65_536, 255)))]);
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(read) = VideoLayers::parse(&value) {
                prop_assert!(read.layers.len() <= 16);
                prop_assert!(read.layers.iter().all(|layer| (1..=4).contains(&layer.bitrates.len())));
            }
        }
    }
}
