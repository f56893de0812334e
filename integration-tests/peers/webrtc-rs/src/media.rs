//! Media that is made up. The crate `webrtc` has no codecs: what it sends is shaped like VP8 and Opus, and what it
//! receives is counted as the frames that are complete, beginning with a key frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::task::AbortHandle;
use webrtc::media_stream::MediaStreamTrack;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpSender;

use crate::peer::{Result, Shared};

/// Frames that came.
#[derive(Default)]
pub(crate) struct Frames {
    audio: AtomicU64,
    video: AtomicU64,
}

impl Frames {
    pub(crate) fn count(&self, kind: &str) -> u64 {
        if kind == "video" { &self.video } else { &self.audio }.load(Ordering::Relaxed)
    }
}

/// What sends until it is dropped.
pub(crate) struct Source(AbortHandle);

impl Drop for Source {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends something of this kind.
pub(crate) async fn send(
    connection: &Arc<dyn PeerConnection>,
    kind: &str,
) -> Result<(Arc<dyn RtpSender>, Source)> {
    let video = kind == "video";
    let codec = RTCRtpCodec {
        mime_type: if video { MIME_TYPE_VP8 } else { MIME_TYPE_OPUS }.to_owned(),
        clock_rate: if video { 90_000 } else { 48_000 },
        channels: if video { 0 } else { 2 },
        ..RTCRtpCodec::default()
    };
    let ssrc = fastrand::u32(1..);
    let track: Arc<dyn TrackLocal> = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        "theirs".to_owned(),
        format!("their {kind} {ssrc}"),
        kind.to_owned(),
        if video { RtpCodecKind::Video } else { RtpCodecKind::Audio },
        vec![RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec,
            ..Default::default()
        }],
    )));
    let sender = connection.add_track(Arc::clone(&track)).await?;
    let of_sender = Arc::clone(&sender);
    let sending = tokio::spawn(async move {
        let (interval, step) = if video { (50, 4_500) } else { (20, 960) };
        let mut ticks = tokio::time::interval(Duration::from_millis(interval));
        let mut packet = rtp::Packet::default();
        packet.header.version = 2;
        packet.header.ssrc = ssrc;
        packet.header.marker = true;
        // A VP8 key frame of 16 x 16 by its looks; a silent Opus frame.
        let mut frame = vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x10, 0x00, 0x10, 0x00];
        frame.resize(200, 7);
        packet.payload = Bytes::from(if video { frame } else { vec![0xf8, 0xff, 0xfe] });
        loop {
            ticks.tick().await;
            packet.header.sequence_number = packet.header.sequence_number.wrapping_add(1);
            packet.header.timestamp = packet.header.timestamp.wrapping_add(step);
            // Before anything was negotiated there is no payload type.
            if let Ok(parameters) = of_sender.get_parameters().await
                && let Some(codec) = parameters.rtp_parameters.codecs.first()
            {
                packet.header.payload_type = codec.payload_type;
                _ = track.write_rtp(packet.clone()).await;
            }
        }
    });
    Ok((sender, Source(sending.abort_handle())))
}

/// Counts what comes.
pub(crate) fn watch(shared: Arc<Shared>, track: Arc<dyn TrackRemote>) {
    tokio::spawn(async move {
        let video = track.kind().await == RtpCodecKind::Video;
        let (mut begun, mut whole, mut expected) = (false, false, None);
        while let Some(event) = track.poll().await {
            let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
            if !video {
                shared.frames.audio.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // RFC 7741 §4.2: the S bit and partition 0 begin a frame; a clear P bit makes it a key frame.
            let starts = packet.payload.first().is_some_and(|first| first & 0x1f == 0x10);
            whole = starts || (whole && expected == Some(packet.header.sequence_number));
            let extended = packet.payload.first().is_some_and(|first| first & 0x80 != 0);
            begun |=
                starts && (extended || packet.payload.get(1).is_some_and(|header| header & 1 == 0));
            expected = Some(packet.header.sequence_number.wrapping_add(1));
            if packet.header.marker && whole && begun {
                shared.frames.video.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}
