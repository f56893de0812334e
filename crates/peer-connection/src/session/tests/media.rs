//! Tests of tracks, transceivers, frames and packets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::SECOND;
use super::simulated_pair::{Pair, Peer};
use crate::error::*;
use crate::*;

pub(super) fn video(id: &str) -> LocalTrack {
    LocalTrack::new(RtpCodecCapability::new("video/VP8"), id, "stream")
}

fn audio(id: &str) -> LocalTrack {
    LocalTrack::new(RtpCodecCapability::new("audio"), id, "stream")
}

/// Returns bytes that the packetizer takes for a VP8 key frame.
pub(super) fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
    frame.resize(length.max(frame.len()), 5);
    frame
}

impl Peer {
    pub(super) fn samples(&self) -> Vec<&ReceivedSample> {
        self.events
            .iter()
            .filter_map(|event| match event {
                ConnectionEvent::Sample(sample) => Some(sample),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn send_frames(pair: &mut Pair, sender: SenderId, count: usize, length: usize) {
    for _ in 0..count {
        let now = pair.now;
        let sample = Sample::new(frame(length), Duration::from_millis(33));
        pair.a.session.write_sample(now, sender, sample).unwrap();
        pair.pass(Duration::from_millis(33));
    }
}

#[test]
fn frames_go_both_ways_and_tracks_come_and_go() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("camera")).unwrap();
    pair.negotiate();
    pair.connect();

    send_frames(&mut pair, sender, 10, 3_000);
    assert!(pair.b.samples().len() >= 8, "{}", pair.b.samples().len());
    let sample = pair.b.samples()[0].clone();
    assert_eq!(sample.data.len(), 3_000);
    assert!(sample.keyframe && sample.codec.mime_type.eq_ignore_ascii_case("video/VP8"));
    let second = pair.b.samples()[1].timestamp;
    assert_eq!(second - sample.timestamp, 2_970, "33 ms of a clock of 90 kHz");
    let added = pair.b.events.iter().find_map(|event| match event {
        ConnectionEvent::TrackAdded { track, streams, kind, .. } => {
            Some((track.clone(), streams.clone(), *kind))
        }
        _ => None,
    });
    assert_eq!(added, Some(("camera".to_owned(), vec!["stream".to_owned()], TrackKind::Video)));

    // The other way, in the same section.
    let now = pair.now;
    let back = pair.b.session.add_track(now, video("other")).unwrap();
    pair.negotiate_from_b();
    pair.pass(SECOND / 10);
    let now = pair.now;
    pair.b.session.write_sample(now, back, Sample::new(frame(500), SECOND / 30)).unwrap();
    assert!(pair.until(SECOND, |pair| pair.a.samples().len() == 1));
    assert_eq!(pair.a.session.transceivers().len(), 1);

    // And then no longer.
    let now = pair.now;
    pair.a.session.change(now, |all| all.remove_track(sender)).unwrap();
    let write = pair.a.session.write_sample(now, sender, Sample::new(frame(500), SECOND / 30));
    assert_eq!(write, Err(WriteError::NotSending));
    pair.negotiate();
    pair.settle();
    assert!(
        pair.b.events.iter().any(|event| matches!(event, ConnectionEvent::TrackRemoved { .. }))
    );
    assert_eq!(pair.b.session.transceivers()[0].current_direction, Some(Direction::SendOnly));
}

#[test]
fn what_is_no_track_is_refused() {
    let mut pair = Pair::new();
    let now = pair.now;
    let invalid = LocalTrack::new(RtpCodecCapability::new("invalid_track"), "x", "y");
    assert!(matches!(pair.a.session.add_track(now, invalid), Err(AddTrackError::InvalidTrack(_))));
    pair.a.session.add_track(now, audio("one")).unwrap();
    assert_eq!(pair.a.session.add_track(now, audio("one")), Err(AddTrackError::AlreadyAdded));
    let unknown = SenderId::random();
    let write = pair.a.session.write_sample(now, unknown, Sample::new(vec![1], SECOND));
    assert_eq!(write, Err(WriteError::NotFound));
}

#[test]
fn a_transceiver_that_never_sent_is_used_again_and_one_that_did_is_not() {
    let mut pair = Pair::new();
    let now = pair.now;
    let free = pair
        .a
        .session
        .add_transceiver(now, TrackKind::Audio, Direction::RecvOnly, None, Vec::new())
        .unwrap();
    let sender = pair.a.session.add_track(now, audio("one")).unwrap();
    assert_eq!(pair.a.session.transceivers().len(), 1);
    assert_eq!(pair.a.session.transceivers()[0].id, free);
    assert_eq!(pair.a.session.transceivers()[0].direction, Direction::SendRecv);
    pair.negotiate();
    let now = pair.now;
    pair.a.session.change(now, |all| all.remove_track(sender)).unwrap();
    pair.a.session.add_track(now, audio("two")).unwrap();
    assert_eq!(pair.a.session.transceivers().len(), 2);
}

#[test]
fn directions_are_negotiated_by_both_sides() {
    use Direction::*;
    for ours in [SendRecv, SendOnly, RecvOnly, Inactive] {
        for theirs in [SendRecv, SendOnly, RecvOnly, Inactive] {
            let mut pair = Pair::new();
            let now = pair.now;
            pair.a
                .session
                .add_transceiver(now, TrackKind::Video, ours, Some(video("a")), Vec::new())
                .unwrap();
            let offer = pair.a.session.create_offer(false).unwrap();
            pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
            pair.b.session.set_remote_description(now, offer).unwrap();
            let id = pair.b.session.transceivers()[0].id;
            pair.b
                .session
                .change(now, |all| all.usable(id).map(|one| one.direction = theirs))
                .unwrap();
            pair.b.session.set_local_description(now, None).unwrap();
            let answer = pair.b.session.jsep().current_local().unwrap().description();
            pair.a.session.set_remote_description(now, answer).unwrap();

            let agreed = ours.intersection(theirs.reversed());
            assert_eq!(
                pair.a.session.transceivers()[0].current_direction,
                Some(agreed),
                "{ours} {theirs}"
            );
            assert_eq!(pair.b.session.transceivers()[0].current_direction, Some(agreed.reversed()));

            // From inactive back to everything, started by the other side.
            pair.b
                .session
                .change(now, |all| all.usable(id).map(|one| one.direction = SendRecv))
                .unwrap();
            let id = pair.a.session.transceivers()[0].id;
            pair.a
                .session
                .change(now, |all| all.usable(id).map(|one| one.direction = SendRecv))
                .unwrap();
            pair.negotiate();
            assert_eq!(
                pair.a.session.transceivers()[0].current_direction,
                Some(SendRecv),
                "{ours} {theirs}"
            );
            pair.connect();
        }
    }
}

#[test]
fn a_stopped_transceiver_ends_on_both_sides_and_its_place_is_rejected() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a.session.add_track(now, audio("one")).unwrap();
    pair.a.session.add_track(now, video("two")).unwrap();
    pair.negotiate();
    pair.connect();
    let audio = pair.a.session.transceivers()[0].id;
    let now = pair.now;
    pair.a.session.change(now, |all| all.stop(audio)).unwrap();
    pair.negotiate();
    pair.settle();

    for peer in [&mut pair.a, &mut pair.b] {
        assert!(peer.session.transceivers()[0].stopped);
        assert!(
            peer.events
                .iter()
                .any(|event| matches!(event, ConnectionEvent::TransceiverStopped { .. }))
        );
        let local =
            sdp::Sdp::parse(&peer.session.jsep().current_local().unwrap().description().sdp);
        assert_eq!(local.media()[0].port(), Some(0));
        assert_eq!(local.bundle().map(|bundle| bundle.len()), Some(1));
    }
    assert_eq!(pair.a.session.change(now, |all| all.stop(audio)), Ok(()), "again: nothing");
    pair.negotiate_from_b();
    pair.pass(SECOND);
    assert!(pair.connected());
    // A new transceiver gets a section of its own.
    let now = pair.now;
    pair.a.session.add_track(now, super::media::audio("three")).unwrap();
    pair.negotiate();
    pair.pass(SECOND);
    assert!(pair.connected());
}

#[test]
fn preferred_codecs_are_the_only_ones() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a
        .session
        .add_track(now, LocalTrack::new(RtpCodecCapability::new("video"), "v", "s"))
        .unwrap();
    let id = pair.a.session.transceivers()[0].id;
    let h264 = vec![RtpCodecCapability::new("video/H264")];
    pair.a.session.change(now, |all| all.usable(id).map(|one| one.preferences = h264)).unwrap();
    pair.negotiate();
    pair.connect();
    let codecs = pair.b.session.transceivers()[0].codecs.clone();
    assert!(!codecs.is_empty());
    assert!(
        codecs.iter().all(|(_, codec)| codec.mime_type.eq_ignore_ascii_case("video/H264")),
        "{codecs:?}"
    );

    // Started by the answering side.
    let mut pair = Pair::new();
    pair.a
        .session
        .add_track(now, LocalTrack::new(RtpCodecCapability::new("video"), "v", "s"))
        .unwrap();
    let offer = pair.a.session.create_offer(false).unwrap();
    pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
    pair.b.session.set_remote_description(now, offer).unwrap();
    let id = pair.b.session.transceivers()[0].id;
    let vp9 = vec![RtpCodecCapability::new("video/VP9")];
    pair.b.session.change(now, |all| all.usable(id).map(|one| one.preferences = vp9)).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = pair.b.session.jsep().current_local().unwrap().description();
    pair.a.session.set_remote_description(now, answer).unwrap();
    let codecs = pair.a.session.transceivers()[0].codecs.clone();
    assert!(
        codecs.iter().all(|(_, codec)| codec.mime_type.eq_ignore_ascii_case("video/VP9")),
        "{codecs:?}"
    );
    assert!(!codecs.is_empty());
}

#[test]
fn a_track_is_replaced_by_one_of_its_kind_and_codec() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("one")).unwrap();
    pair.negotiate();
    pair.connect();
    let now = pair.now;
    let wrong = pair.a.session.replace_track(now, sender, Some(audio("x")));
    assert_eq!(wrong, Err(TransceiverError::OtherKind(TrackKind::Audio)));
    let h265 = LocalTrack::new(RtpCodecCapability::new("video/H265"), "x", "y");
    let unknown = pair.a.session.replace_track(now, sender, Some(h265));
    assert!(matches!(unknown, Err(TransceiverError::NotNegotiated(_))));
    pair.a.session.replace_track(now, sender, Some(video("two"))).unwrap();
    send_frames(&mut pair, sender, 3, 100);
    let now = pair.now;
    pair.a.session.replace_track(now, sender, None).unwrap();
    let none = pair.a.session.write_sample(now, sender, Sample::new(frame(10), SECOND));
    assert_eq!(none, Err(WriteError::NotSending));
}

#[test]
fn simulcast_is_sent_and_told_apart() {
    let mut pair = Pair::new();
    let now = pair.now;
    let rids: Vec<Rid> = ["lo", "hi"].iter().map(|rid| rid.parse().unwrap()).collect();
    let id = pair
        .a
        .session
        .add_transceiver(now, TrackKind::Video, Direction::SendOnly, Some(video("v")), rids.clone())
        .unwrap();
    pair.negotiate();
    pair.connect();
    let sender = pair.a.session.transceivers().into_iter().find(|one| one.id == id).unwrap().sender;
    let told = |event: &ConnectionEvent| match event {
        ConnectionEvent::TrackAdded { encodings, .. } => Some(encodings.clone()),
        _ => None,
    };
    assert_eq!(pair.b.events.iter().find_map(told), Some(rids.clone()));
    assert_eq!(pair.b.session.transceivers()[0].encodings, rids);
    for _ in 0..10 {
        for rid in &rids {
            let now = pair.now;
            let mut sample = Sample::new(frame(200), Duration::from_millis(33));
            sample.rid = Some(*rid);
            pair.a.session.write_sample(now, sender, sample).unwrap();
            pair.pass(Duration::from_millis(16));
        }
    }
    for rid in &rids {
        let count = pair.b.samples().iter().filter(|sample| sample.rid == Some(*rid)).count();
        assert!(count >= 5, "{rid}: {count}");
    }
    let mut other = Sample::new(frame(10), SECOND);
    other.rid = Some("no".parse().unwrap());
    let now = pair.now;
    assert_eq!(pair.a.session.write_sample(now, sender, other), Err(WriteError::UnknownEncoding));
    let twice = pair.a.session.add_transceiver(
        now,
        TrackKind::Video,
        Direction::SendOnly,
        None,
        vec![rids[0], rids[0]],
    );
    assert!(matches!(twice, Err(AddTransceiverError::Encoding(_))));
}

#[test]
fn a_key_frame_is_asked_for_and_heard() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("one")).unwrap();
    pair.negotiate();
    pair.connect();
    send_frames(&mut pair, sender, 3, 100);
    let now = pair.now;
    let id = pair.b.session.transceivers()[0].id;
    pair.b.session.request_keyframe(now, id, None, KeyframeRequestKind::Pli).unwrap();
    assert!(pair.until(2 * SECOND, |pair| {
        pair.a.events.iter().any(|event| matches!(event, ConnectionEvent::KeyframeRequested { .. }))
    }));
    let nobody = pair.b.session.request_keyframe(
        now,
        TransceiverId::random(),
        None,
        KeyframeRequestKind::Fir,
    );
    assert_eq!(nobody, Err(KeyframeError::NotFound));
}

#[test]
fn tones_are_played_one_by_one() {
    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, audio("one")).unwrap();
    let insert = |pair: &mut Pair, tones: &str| {
        let now = pair.now;
        pair.a.session.insert_dtmf(
            now,
            sender,
            tones,
            Duration::from_millis(100),
            Duration::from_millis(70),
        )
    };
    assert_eq!(insert(&mut pair, "1"), Err(DtmfError::CannotInsert), "not connected");
    pair.negotiate();
    pair.connect();
    assert_eq!(insert(&mut pair, "1x"), Err(DtmfError::NoTone('X')));
    insert(&mut pair, "1#,a").unwrap();
    pair.pass(4 * SECOND);

    let tones: Vec<Option<char>> = pair
        .a
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::ToneChange { tone, .. } => Some(*tone),
            _ => None,
        })
        .collect();
    assert_eq!(tones, [Some('1'), Some('#'), Some(','), Some('A'), None]);
}

struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

impl Interceptor for Noting {
    fn sample_sent(&self, _: SenderId, sample: &mut Sample) -> Flow {
        self.1.lock().unwrap().push(format!("{} sends {}", self.0, sample.data.len()));
        if sample.data.len() == 666 { Flow::Drop } else { Flow::Pass }
    }

    fn sample_received(&self, sample: &mut ReceivedSample) -> Flow {
        self.1.lock().unwrap().push(format!("{} hears {}", self.0, sample.data.len()));
        Flow::Pass
    }
}

#[test]
fn taps_see_media_in_their_order_and_may_drop_it() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let registry = InterceptorRegistry::default()
        .interceptor(Noting("one", Arc::clone(&notes)))
        .interceptor(Noting("two", Arc::clone(&notes)));
    let mut pair = Pair::with(Api::new(MediaEngine::default(), registry), Api::default());
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("v")).unwrap();
    pair.negotiate();
    pair.connect();
    for length in [100, 666, 200] {
        let now = pair.now;
        pair.a.session.write_sample(now, sender, Sample::new(frame(length), SECOND / 30)).unwrap();
        pair.pass(SECOND / 30);
    }
    let noted = notes.lock().unwrap().clone();
    assert_eq!(
        noted,
        ["one sends 100", "two sends 100", "one sends 666", "one sends 200", "two sends 200"]
    );
    let lengths: Vec<usize> = pair.b.samples().iter().map(|sample| sample.data.len()).collect();
    assert_eq!(lengths, [100, 200]);
}

#[test]
fn switched_off_interceptors_are_not_offered() {
    let registry = InterceptorRegistry {
        nack: false,
        rtx: false,
        transport_wide_feedback: false,
        ..InterceptorRegistry::default()
    };
    let mut pair = Pair::with(Api::new(MediaEngine::default(), registry), Api::default());
    let now = pair.now;
    pair.a.session.add_track(now, video("v")).unwrap();
    let offer = pair.a.session.create_offer(false).unwrap().sdp;
    for absent in ["nack\r\n", "rtx", "transport-cc", "transport-wide-cc"] {
        assert!(!offer.contains(absent), "{absent}: {offer}");
    }
    assert!(offer.contains("nack pli"));
    pair.negotiate();
    pair.connect();
}

#[test]
fn statistics_have_w3cs_shape() {
    let mut pair = Pair::new();
    let channel = pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("v")).unwrap();
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND);
    let now = pair.now;
    pair.a.text(now, channel, "hello").unwrap();
    send_frames(&mut pair, sender, 60, 1_500);
    pair.pass(3 * SECOND);

    let now = pair.now;
    let (of_a, of_b) = (pair.a.session.stats(now), pair.b.session.stats(now));
    fn one<D: StatsDictionary>(report: &StatsReport) -> &D {
        report.of::<D>().next().unwrap_or_else(|| panic!("no {}", std::any::type_name::<D>()))
    }
    let transport: &TransportStats = one(&of_a);
    assert_eq!(of_a.get("ice_transport"), Some(&Stats::Transport(transport.clone())));
    assert!(transport.bytes_sent > 0 && transport.bytes_received > 0);
    assert_eq!(transport.srtp_cipher, Some("AEAD_AES_128_GCM"));
    assert_eq!(transport.dtls_state, DtlsTransportState::Connected);
    assert!(one::<PeerConnectionStats>(&of_a).id.starts_with("PeerConnection-"));
    assert_eq!(one::<PeerConnectionStats>(&of_a).data_channels_requested, 1);
    assert_eq!(one::<PeerConnectionStats>(&of_b).data_channels_accepted, 1);
    assert_eq!(one::<DataChannelStats>(&of_a).messages_sent, 1);
    assert_eq!(one::<DataChannelStats>(&of_b).bytes_received, 5);
    assert!(one::<OutboundRtpStreamStats>(&of_a).packets_sent >= 60);
    assert!(one::<InboundRtpStreamStats>(&of_b).frames_received >= Some(55));
    let pair: &IceCandidatePairStats = one(&of_a);
    assert_eq!(transport.selected_candidate_pair_id.as_ref(), Some(&pair.id));
    assert!(pair.current_round_trip_time > Some(0.019));
    let local = of_a.get(&pair.local_candidate_id);
    assert!(
        matches!(local, Some(Stats::LocalCandidate(local)) if local.port == 1_111),
        "{local:?}"
    );
    let remote = of_a.get(&pair.remote_candidate_id);
    assert!(
        matches!(remote, Some(Stats::RemoteCandidate(remote)) if remote.port == 2_222),
        "{remote:?}"
    );
    let codec: &CodecStats = one(&of_a);
    assert!(codec.mime_type.starts_with("video/"));
    let heard: &RemoteInboundRtpStreamStats = one(&of_a);
    assert_eq!(heard.local_id, one::<OutboundRtpStreamStats>(&of_a).id);
    let certificates: Vec<&CertificateStats> = of_a.of().collect();
    assert_eq!(certificates.len(), 2, "of both sides");
    assert!(certificates.iter().any(|one| one.id == transport.local_certificate_id));
    let json = serde_json::to_string(&of_a).unwrap();
    assert!(json.contains("\"type\":\"candidate-pair\""));
}
