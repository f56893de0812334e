//! Tests of str0m's tracks: media that is written on one side and received on the other, and their statistics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Event, Rtc, RtcConfig, RtcError};

use crate::wire::{Peer, Wire, audio, config, millis, secs, video};

/// With the time at which each first comes.
#[test]
fn statistics_are_pushed_every_interval_for_the_peer_and_each_stream() {
    let (mut wire, mid, pt) = speaking(config().set_stats_interval(Some(secs(1))));

    wire.speak(mid, pt, secs(10));

    let peer_stats: Vec<_> = events(&wire.left, |event| match event {
        Event::PeerStats(stats) => Some(stats.clone()),
        _ => None,
    });
    assert!((9..=12).contains(&peer_stats.len()), "{}", peer_stats.len());
    let last = peer_stats.last().unwrap();
    let pair = last.selected_candidate_pair.as_ref().unwrap();
    assert_eq!(pair.local.addr, wire.left.candidate.addr());
    assert_eq!(pair.remote.addr, wire.right.candidate.addr());
    assert!(pair.responses_received > 0);
    assert_eq!(pair.current_round_trip_time, Some(millis(10)));
    assert_eq!(
        pair.total_round_trip_time,
        millis(10) * u32::try_from(pair.responses_received).unwrap()
    );
    let out: Vec<_> = events(&wire.left, |event| match event {
        Event::MediaEgressStats(stats) => Some(stats.clone()),
        _ => None,
    });
    assert_eq!((out.last().unwrap().mid, out.last().unwrap().rid), (mid, None));
    assert!(out.last().unwrap().packets > 300);
    let taken: Vec<_> = events(&wire.right, |event| match event {
        Event::MediaIngressStats(stats) => Some(stats.clone()),
        _ => None,
    });
    assert_eq!(taken.last().unwrap().mid, mid);
    assert!(taken.last().unwrap().packets > 300);
}

/// The documentation has it the other way round.
#[test]
fn peer_bytes_tx_counts_what_was_sent() {
    let (mut wire, mid, pt) = speaking(config().set_stats_interval(Some(secs(1))));

    wire.speak(mid, pt, secs(5));

    let (sent, received) = events(&wire.left, |event| match event {
        Event::PeerStats(stats) => Some((stats.peer_bytes_tx, stats.peer_bytes_rx)),
        _ => None,
    })
    .pop()
    .unwrap();
    assert!(sent > 4 * received, "{sent} sent, {received} received");
}

#[test]
fn what_the_remote_side_says_of_our_audio_is_absent_at_first() {
    let (mut wire, mid, pt) = speaking(config().set_stats_interval(Some(secs(1))));

    wire.speak(mid, pt, secs(20));

    let remote: Vec<_> = events(&wire.left, |event| match event {
        Event::MediaEgressStats(stats) => Some(stats.remote.is_some()),
        _ => None,
    });
    assert_eq!(remote[..3], [false; 3]);
    assert!(remote.last().unwrap());
}

#[test]
fn no_statistics_are_pushed_unless_asked_for() {
    let (mut wire, mid, pt) = speaking(config());

    wire.speak(mid, pt, secs(5));

    assert!(
        !wire.left.told(|event| matches!(event, Event::PeerStats(_) | Event::MediaEgressStats(_)))
    );
}

#[test]
fn a_frame_written_on_one_side_is_told_whole_on_the_other() {
    let (mut wire, mid, pt) = speaking(config());

    wire.speak(mid, pt, secs(2));

    let frames = events(&wire.right, |event| match event {
        Event::MediaData(data) => {
            Some((data.mid, data.params.spec().codec, data.data.to_vec(), data.contiguous))
        }
        _ => None,
    });
    assert!(frames.len() > 90, "{}", frames.len());
    assert!(frames.iter().all(|frame| *frame == (mid, Codec::Opus, SOUND.to_vec(), true)));
}

/// `ontrack` cannot wait for it when the track is local.
#[test]
fn added_media_is_told_to_the_answerer_only() {
    let (wire, mid, _) = speaking(config());

    assert!(wire.right.told(|event| matches!(event, Event::MediaAdded(added) if added.mid == mid)));
    assert!(!wire.left.told(|event| matches!(event, Event::MediaAdded(_))));
}

/// One frame more than the 512 that may wait for a poll.
#[test]
fn the_513th_write_without_a_poll_is_an_error() {
    let (mut wire, mid, pt) = speaking(config());

    for step in 0..512 {
        assert!(write(&mut wire.left.rtc, mid, pt, wire.now, step * 960).is_ok(), "{step}");
    }
    let last = write(&mut wire.left.rtc, mid, pt, wire.now, 512 * 960);

    assert!(matches!(last, Err(RtcError::WriteWithoutPoll)), "{last:?}");
    wire.run_for(secs(5));
    assert!(wire.left.errors.is_empty());
}

/// Therefore this crate has to silence a sender that may not send.
#[test]
fn a_write_against_the_direction_is_taken_and_sent() {
    let (mut wire, mid, pt) = speaking(config());
    for direction in [Direction::RecvOnly, Direction::Inactive] {
        wire.left.rtc.sdp_api().set_direction(mid, direction);
        let before = frames(&wire.right);

        let written = write(&mut wire.left.rtc, mid, pt, wire.now, 0);
        wire.run_for(secs(2));

        assert!(written.is_ok(), "{written:?}");
        assert!(wire.left.errors.is_empty(), "{:?}", wire.left.errors);
        assert_eq!(frames(&wire.right), before + 1);
    }
}

/// Its documentation says that it is dropped.
#[test]
fn a_write_before_the_connection_stands_is_sent_once_it_does() {
    let mut wire = Wire::new();
    let mid = wire.negotiate_left(audio);
    let pt = opus(&mut wire.left.rtc, mid);

    assert!(write(&mut wire.left.rtc, mid, pt, wire.now, 0).is_ok());
    wire.expect_connected();

    assert_eq!(frames(&wire.right), 1);
}

#[test]
fn an_unknown_payload_type_or_rid_is_an_error() {
    let (mut wire, mid, pt) = speaking(config());

    let unknown = write(&mut wire.left.rtc, mid, Pt::from(77), wire.now, 0);
    assert!(matches!(unknown, Err(RtcError::UnknownPt(_))), "{unknown:?}");
    let time = MediaTime::new(0, str0m::media::Frequency::FORTY_EIGHT_KHZ);
    let writer = wire.left.rtc.writer(mid).unwrap().rid(Rid::from("hi"));
    assert!(matches!(writer.write(pt, wire.now, time, SOUND), Err(RtcError::UnknownRid(_))));
}

#[test]
fn a_keyframe_asked_for_is_told_to_the_sender() {
    for kind in [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir] {
        let (mut wire, mid) = Wire::new().connected_by(video);
        let pt = vp8(&mut wire.left.rtc, mid);
        wire.show(mid, None, pt, secs(1));

        let mut writer = wire.right.rtc.writer(mid).unwrap();
        assert!(writer.is_request_keyframe_possible(kind));
        writer.request_keyframe(None, kind).unwrap();
        wire.run_for(secs(1));

        assert!(wire.left.told(|event| matches!(event, Event::KeyframeRequest(request)
            if request.mid == mid && request.rid.is_none() && request.kind == kind)));
    }
}

#[test]
fn a_keyframe_asked_for_before_anything_came_depends_on_the_ssrc_of_the_description() {
    let (mut wire, mid) = Wire::new().connected_by(video);

    let asked =
        wire.right.rtc.writer(mid).unwrap().request_keyframe(None, KeyframeRequestKind::Pli);
    wire.run_for(secs(1));

    assert!(asked.is_ok(), "{asked:?}");
    assert!(wire.left.told(|event| matches!(event, Event::KeyframeRequest(_))));
}

/// What is written per rid arrives with it.
#[test]
fn simulcast_layers_arrive_under_their_rids() {
    let mut simulcast = Simulcast::new();
    for rid in RIDS {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }
    let (mut wire, mid) = Wire::new().connected_by(|api| {
        api.add_media(MediaKind::Video, Direction::SendOnly, None, None, Some(simulcast))
    });
    let pt = vp8(&mut wire.left.rtc, mid);

    for rid in RIDS {
        wire.show(mid, Some(Rid::from(rid)), pt, secs(1));
    }

    for rid in RIDS {
        let rid = Rid::from(rid);
        assert!(
            wire.right
                .told(|event| matches!(event, Event::MediaData(data) if data.rid == Some(rid))),
            "{rid} has arrived"
        );
        wire.right
            .rtc
            .writer(mid)
            .unwrap()
            .request_keyframe(Some(rid), KeyframeRequestKind::Pli)
            .unwrap();
        wire.run_for(secs(1));
        assert!(wire.left.told(
            |event| matches!(event, Event::KeyframeRequest(request) if request.rid == Some(rid))
        ));
    }
}

/// A remote peer that sends one track may be answered with a local one on the same m-line.
#[test]
fn both_sides_write_to_one_m_line() {
    let (mut wire, mid, pt) = speaking(config());
    let right = opus(&mut wire.right.rtc, mid);

    for step in 0..50 {
        write(&mut wire.left.rtc, mid, pt, wire.now, step * 960).unwrap();
        write(&mut wire.right.rtc, mid, right, wire.now, step * 960).unwrap();
        wire.run_for(millis(20));
    }

    for peer in [&wire.left, &wire.right] {
        assert!(
            events(peer, |event| matches!(event, Event::MediaData(_)).then_some(())).len() > 40
        );
    }
}

/// An `Rtc` has either frames or packets, and the far side does not notice which.
#[test]
fn an_rtc_in_rtp_mode_tells_packets_and_never_frames() {
    let mut wire = Wire::with_configs(config(), config().set_rtp_mode(true));
    let mid = wire.negotiate_left(audio);
    wire.expect_connected();
    let pt = opus(&mut wire.left.rtc, mid);

    wire.speak(mid, pt, secs(1));

    assert!(wire.right.told(|event| matches!(event, Event::RtpPacket(_))));
    assert!(!wire.right.told(|event| matches!(event, Event::MediaData(_))));
}

#[test]
fn a_packet_written_in_rtp_mode_is_a_frame_to_the_far_side() {
    let mut wire = Wire::with_configs(config().set_rtp_mode(true), config());
    let mid = wire.negotiate_left(audio);
    wire.expect_connected();
    let pt = wire.left.rtc.media(mid).unwrap().remote_pts()[0];

    wire.speak_packets(mid, pt);

    assert!(
        wire.right.told(|event| matches!(event, Event::MediaData(data) if *data.data == SOUND))
    );
}

/// Therefore the two modes cannot be mixed in one `Rtc`.
#[test]
fn asking_an_rtc_in_rtp_mode_for_a_writer_panics() {
    let mut wire = Wire::with_configs(config().set_rtp_mode(true), config());
    let mid = wire.negotiate_left(audio);

    assert!(catch_unwind(AssertUnwindSafe(|| wire.left.rtc.writer(mid).is_some())).is_err());
}

/// The other way round: packets may be written into an `Rtc` in frame mode, which still reports frames.
#[test]
fn a_packet_written_in_frame_mode_is_a_frame_to_the_far_side_too() {
    let (mut wire, mid, pt) = speaking(config());

    wire.speak_packets(mid, pt);

    assert!(frames(&wire.right) > 40);
}

impl Wire {
    /// Writes a packet of 20 ms again and again on the left.
    fn speak_packets(&mut self, mid: Mid, pt: Pt) {
        for step in 0..50_u32 {
            let packet =
                RtpWrite::new(pt, SeqNo::from(u64::from(step)), step * 960, self.now, SOUND);
            self.left.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().write_rtp(packet);
            self.run_for(millis(20));
        }
    }

    /// Writes a frame of 20 ms again and again on the left.
    fn speak(&mut self, mid: Mid, pt: Pt, duration: Duration) {
        for step in 0..duration.as_millis() as u64 / 20 {
            write(&mut self.left.rtc, mid, pt, self.now, step * 960).unwrap();
            self.run_for(millis(20));
        }
    }

    /// Writes a picture of several packets again and again on the left.
    fn show(&mut self, mid: Mid, rid: Option<Rid>, pt: Pt, duration: Duration) {
        for step in 0..duration.as_millis() as u64 / 40 {
            let time = MediaTime::new(step * 3_600, str0m::media::Frequency::NINETY_KHZ);
            let mut writer = self.left.rtc.writer(mid).unwrap();
            if let Some(rid) = rid {
                writer = writer.rid(rid);
            }
            writer.write(pt, self.now, time, PICTURE).unwrap();
            self.run_for(millis(40));
        }
    }
}

/// Returns two connected peers with an audio track, and its payload type.
fn speaking(config: RtcConfig) -> (Wire, Mid, Pt) {
    let mut wire = Wire::with_configs(config.clone(), config);
    let (mid, _) =
        wire.negotiate_left(|api| (audio(api), api.add_channel("chat".into()))) as (Mid, ChannelId);
    wire.expect_connected();
    let pt = opus(&mut wire.left.rtc, mid);
    (wire, mid, pt)
}

fn write(
    rtc: &mut Rtc,
    mid: Mid,
    pt: Pt,
    now: std::time::Instant,
    time: u64,
) -> Result<(), RtcError> {
    let time = MediaTime::new(time, str0m::media::Frequency::FORTY_EIGHT_KHZ);
    rtc.writer(mid).unwrap().write(pt, now, time, SOUND)
}

fn frames(peer: &Peer) -> usize {
    events(peer, |event| matches!(event, Event::MediaData(_)).then_some(())).len()
}

fn opus(rtc: &mut Rtc, mid: Mid) -> Pt {
    payload_type(rtc, mid, Codec::Opus)
}

fn vp8(rtc: &mut Rtc, mid: Mid) -> Pt {
    payload_type(rtc, mid, Codec::Vp8)
}

fn payload_type(rtc: &mut Rtc, mid: Mid, codec: Codec) -> Pt {
    let writer = rtc.writer(mid).unwrap();
    writer.payload_params().find(|params| params.spec().codec == codec).unwrap().pt()
}

fn events<T>(peer: &Peer, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
    peer.events.iter().filter_map(|(_, event)| pick(event)).collect()
}

const SOUND: [u8; 80] = [1; 80];
/// Begins as a VP8 keyframe does (RFC 7741 §4.3), and needs three packets.
const PICTURE: [u8; 3_000] = [0x10; 3_000];
const RIDS: [&str; 3] = ["lo", "mid", "hi"];
