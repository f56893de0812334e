//! Conversions between this crate's types and str0m's.

use std::time::Duration;

use str0m::bwe::BweKind;
use str0m::format::{Codec as FormatCodec, PayloadParams};
use str0m::media::{
    Frequency, KeyframeRequestKind as StrKeyframe, MediaKind, Rid as StrRid, TelephoneEvent,
};
use str0m::rtp::{Vp8Descriptor, Vp8Patch};
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
