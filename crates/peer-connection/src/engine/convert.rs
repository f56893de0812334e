//! Conversions between this crate's types and str0m's.

use std::sync::Arc;
use std::time::Duration;

use str0m::bwe::BweKind;
use str0m::format::{Codec as FormatCodec, PayloadParams};
use str0m::media::{
    Frequency, KeyframeRequestKind as StrKeyframe, MediaKind, Rid as StrRid, TelephoneEvent,
};
use str0m::rtp::{Extension, ExtensionMap, ExtensionValues, Vp8Descriptor, Vp8Patch};
use str0m::{IceConnectionState, RtcError};

use super::{EngineEvent, IceProgress};
use crate::error::WriteError;
use crate::media::*;

pub(super) fn kind(kind: TrackKind) -> MediaKind {
    match kind {
        TrackKind::Audio => MediaKind::Audio,
        TrackKind::Video => MediaKind::Video,
    }
}

pub(super) fn direction(direction: Direction) -> str0m::media::Direction {
    match direction {
        Direction::SendRecv => str0m::media::Direction::SendRecv,
        Direction::SendOnly => str0m::media::Direction::SendOnly,
        Direction::RecvOnly => str0m::media::Direction::RecvOnly,
        Direction::Inactive => str0m::media::Direction::Inactive,
    }
}

pub(super) fn ice(state: IceConnectionState) -> IceProgress {
    match state {
        IceConnectionState::New => IceProgress::New,
        IceConnectionState::Checking => IceProgress::Checking,
        IceConnectionState::Connected => IceProgress::Connected,
        IceConnectionState::Completed => IceProgress::Completed,
        IceConnectionState::Disconnected => IceProgress::Disconnected,
    }
}

pub(super) fn rid(rid: StrRid) -> Option<Rid> {
    rid.parse().ok()
}

pub(super) fn keyframe(kind: StrKeyframe) -> KeyframeRequestKind {
    match kind {
        StrKeyframe::Pli => KeyframeRequestKind::Pli,
        StrKeyframe::Fir => KeyframeRequestKind::Fir,
    }
}

pub(super) fn keyframe_kind(kind: KeyframeRequestKind) -> StrKeyframe {
    match kind {
        KeyframeRequestKind::Pli => StrKeyframe::Pli,
        KeyframeRequestKind::Fir => StrKeyframe::Fir,
    }
}

/// Returns what an estimate is, of this side or of the peer.
pub(super) fn estimate(estimate: BweKind) -> Option<EngineEvent> {
    Some(match estimate {
        BweKind::Twcc { estimate, can_probe } => {
            EngineEvent::Bandwidth { bitrate: estimate.as_u64(), can_probe }
        }
        BweKind::Remb { estimate, .. } => EngineEvent::ReceiverEstimate(estimate.as_u64()),
        _ => return None,
    })
}

/// Returns the changes to the descriptor of a VP8 payload; none if it has no descriptor.
pub(super) fn vp8_patch(payload: &[u8], rewrite: Vp8Rewrite) -> Option<Vp8Patch> {
    let descriptor = Vp8Descriptor::parse(payload).ok()?;
    let mut patch = descriptor.patch();
    if let (Some(id), Some(_)) = (rewrite.picture_id, descriptor.picture_id()) {
        // The descriptor's first bit of the id says how wide it is (RFC 7741 §4.2).
        let is_wide = payload.get(2).is_some_and(|byte| byte & 0x80 != 0);
        patch = patch.picture_id(id & if is_wide { 0x7fff } else { 0x7f });
    }
    if let (Some(index), Some(_)) = (rewrite.tl0_picture_index, descriptor.tl0_pic_idx()) {
        patch = patch.tl0_pic_idx(index);
    }
    if let (Some(index), Some(_)) = (rewrite.key_index, descriptor.key_idx()) {
        patch = patch.key_idx(index & 0x1f);
    }
    patch.build().ok()
}

/// Returns the extensions of a received packet.
pub(super) fn extensions(values: ExtensionValues) -> HeaderExtensions {
    use str0m::rtp::VideoOrientation as Str;
    HeaderExtensions {
        voice_activity: values.voice_activity,
        video_orientation: values.video_orientation.map(|orientation| match orientation {
            Str::Deg0 => VideoOrientation::Upright,
            Str::Deg90 => VideoOrientation::Quarter,
            Str::Deg180 => VideoOrientation::Half,
            Str::Deg270 => VideoOrientation::ThreeQuarters,
        }),
        others: has_others(&values).then(|| Arc::new(values)),
    }
}

/// Returns whether there are extensions that only packets of few streams have; they are kept in a box.
fn has_others(values: &ExtensionValues) -> bool {
    values.video_content_type.is_some()
        || values.abs_capture_time.is_some()
        || values.play_delay_min.is_some()
        || values.play_delay_max.is_some()
        || values.video_timing.is_some()
        || values.frame_mark.is_some()
}

/// Returns the extensions of a packet to send; str0m adds those of the connection.
pub(super) fn extension_values(
    audio_level: Option<i8>,
    extensions: &HeaderExtensions,
) -> ExtensionValues {
    use str0m::rtp::VideoOrientation as Str;
    let mut values = ExtensionValues {
        audio_level,
        // str0m writes both or none.
        voice_activity: extensions.voice_activity.or(audio_level.map(|_| false)),
        video_orientation: extensions.video_orientation.map(|orientation| match orientation {
            VideoOrientation::Upright => Str::Deg0,
            VideoOrientation::Quarter => Str::Deg90,
            VideoOrientation::Half => Str::Deg180,
            VideoOrientation::ThreeQuarters => Str::Deg270,
        }),
        ..ExtensionValues::default()
    };
    if let Some(others) = extensions.others.as_deref() {
        values.video_content_type = others.video_content_type;
        values.abs_capture_time = others.abs_capture_time;
        values.play_delay_min = others.play_delay_min;
        values.play_delay_max = others.play_delay_max;
        values.video_timing = others.video_timing;
        values.frame_mark = others.frame_mark;
    }
    values
}

pub(super) fn frequency(rate: u32) -> Frequency {
    Frequency::new(rate).unwrap_or(Frequency::NINETY_KHZ)
}

pub(super) fn tone(event: u8, duration: Duration) -> TelephoneEvent {
    TelephoneEvent { event, end: true, volume: TONE_VOLUME, duration }
}

/// Returns a codec in W3C's form.
pub(super) fn codec(params: &PayloadParams) -> RtpCodecCapability {
    let spec = params.spec();
    let kind = if spec.codec.is_video() { "video" } else { "audio" };
    RtpCodecCapability {
        mime_type: format!("{kind}/{}", spec.codec),
        clock_rate: spec.clock_rate.get(),
        channels: spec.channels.unwrap_or_default().into(),
        sdp_fmtp_line: spec.format.to_string(),
    }
}

/// Returns the codec of redundant packets of a codec (RFC 2198 §5).
pub(super) fn red(params: &PayloadParams) -> RtpCodecCapability {
    let mime_type = "audio/red".to_owned();
    RtpCodecCapability { mime_type, sdp_fmtp_line: String::new(), ..codec(params) }
}

/// Returns whether a payload type carries this codec.
pub(super) fn matches(params: &PayloadParams, wanted: &RtpCodecCapability) -> bool {
    let spec = params.spec();
    if spec.codec.is_tele() || matches!(spec.codec, FormatCodec::CN) && wanted.name().is_none() {
        return false;
    }
    let kind = if spec.codec.is_video() { TrackKind::Video } else { TrackKind::Audio };
    Some(kind) == wanted.kind()
        && wanted.name().is_none_or(|name| is_named(spec.codec, name))
        && (wanted.clock_rate == 0 || wanted.clock_rate == spec.clock_rate.get())
        && (wanted.sdp_fmtp_line.is_empty() || wanted.sdp_fmtp_line == spec.format.to_string())
}

fn is_named(codec: FormatCodec, name: &str) -> bool {
    let own = match codec {
        FormatCodec::Opus => "opus",
        FormatCodec::PCMU => "PCMU",
        FormatCodec::PCMA => "PCMA",
        FormatCodec::G722 => "G722",
        FormatCodec::CN => "CN",
        FormatCodec::H264 => "H264",
        FormatCodec::H265 => "H265",
        FormatCodec::Vp8 => "VP8",
        FormatCodec::Vp9 => "VP9",
        FormatCodec::Av1 => "AV1",
        _ => return false,
    };
    own.eq_ignore_ascii_case(name)
}

pub(super) fn without_transport_cc(extensions: &mut ExtensionMap) {
    let kept: Vec<(u8, Extension)> = (1..=14)
        .filter_map(|id| extensions.lookup(id).map(|extension| (id, extension.clone())))
        .filter(|(_, extension)| *extension != Extension::TransportSequenceNumber)
        .collect();
    *extensions = ExtensionMap::empty();
    for (id, extension) in kept {
        extensions.set(id, extension);
    }
}

pub(super) fn write_error(error: RtcError) -> WriteError {
    match error {
        RtcError::UnknownPt(_) => WriteError::NotNegotiated,
        RtcError::UnknownRid(_) => WriteError::UnknownEncoding,
        RtcError::NoSenderSource | RtcError::NotSendingDirection(_) => WriteError::NotSending,
        error => WriteError::Engine(error.to_string()),
    }
}

/// Volume of tones in −dBm0, the volume of telephones.
const TONE_VOLUME: u8 = 10;

#[cfg(test)]
mod tests {
    use str0m::media::MediaTime;

    use super::*;

    /// Reading these relies on extensions of the engine that no description of this crate negotiates.
    #[test]
    fn the_other_extensions_of_a_packet_go_on_with_it() {
        let came = ExtensionValues {
            audio_level: Some(-30),
            video_content_type: Some(1),
            play_delay_min: Some(MediaTime::from_millis(100)),
            play_delay_max: Some(MediaTime::from_millis(200)),
            frame_mark: Some(7),
            // The next connection adds its own.
            transport_cc: Some(9),
            ..ExtensionValues::default()
        };

        let kept = extensions(came);
        let sent = extension_values(None, &kept);

        let expected = ExtensionValues {
            video_content_type: Some(1),
            play_delay_min: Some(MediaTime::from_millis(100)),
            play_delay_max: Some(MediaTime::from_millis(200)),
            frame_mark: Some(7),
            ..ExtensionValues::default()
        };
        assert_eq!(sent, expected);
        let plain = ExtensionValues { audio_level: Some(-30), ..ExtensionValues::default() };
        assert_eq!(extensions(plain).others, None, "nothing is kept where there is nothing");
    }
}
