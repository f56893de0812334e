//! Tests of what a forwarder of packets needs: positions, options and bounds of senders, VP8 descriptors, reports of
//! the peer, and the estimate of bandwidth.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::SECOND;
use super::media::{send_frames, video};
use super::rtp::{connect_and_make, in_rtp_mode, in_rtp_mode_with, packets, packets_of, waiting};
use super::simulated_pair::{Pair, Peer};
use crate::engine::EngineEvent;
use crate::error::*;
use crate::*;

fn estimating(initial: u64) -> Api {
    in_rtp_mode_with(InterceptorRegistry {
        bandwidth_estimation: Some(initial),
        ..InterceptorRegistry::default()
    })
}

fn estimates(peer: &Peer) -> Vec<(u64, bool)> {
    let estimate = |event: &ConnectionEvent| match event {
        ConnectionEvent::BandwidthEstimate { bitrate, can_probe } => Some((*bitrate, *can_probe)),
        _ => None,
    };
    peer.events.iter().filter_map(estimate).collect()
}

#[test]
fn a_payload_that_no_path_carries_is_refused() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    let write = |pair: &mut Pair, number, length: usize| {
        let now = pair.now;
        let payload = vec![7; length].into();
        let written =
            pair.a.session.write_packet(sender, RtpPacket { payload, ..packet(number, now) });
        pair.a.session.flush(now);
        pair.pass(SECOND / 100);
        written
    };

    assert_eq!(write(&mut pair, 0, 1_500), Ok(()));
    assert_eq!(write(&mut pair, 1, 1_501), Err(WriteError::TooLarge));
    assert_eq!(write(&mut pair, 2, 60_000), Err(WriteError::TooLarge));

    assert_eq!(write(&mut pair, 1, 10), Ok(()));
    let lengths: Vec<usize> = packets(&pair.b).iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [1_500, 10]);
}

#[test]
fn a_vp8_descriptor_is_rewritten_within_its_width() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    let all = Vp8Rewrite {
        picture_id: Some(0x7fff),
        tl0_picture_index: Some(201),
        key_index: Some(0x3f),
    };
    // RFC 7741 §4.2: X and S; I, L, T and K; a picture id of 15 bits, or of 7; TL0PICIDX; TID, Y and KEYIDX.
    let wide = [0x90, 0xf0, 0x80, 0x05, 9, 0x61, 1, 2];
    let narrow = [0x90, 0xf0, 0x05, 9, 0x61, 1, 2];
    let plain = [0x10, 1, 2];
    for (at, (came, rewrite, expected)) in [
        (&wide[..], Some(all), &[0x90, 0xf0, 0xff, 0xff, 201, 0x7f, 1, 2][..]),
        (&narrow, Some(all), &[0x90, 0xf0, 0x7f, 201, 0x7f, 1, 2]),
        (&wide, Some(Vp8Rewrite::default()), &wide),
        (&wide, None, &wide),
        // There is nothing to replace.
        (&plain, Some(all), &plain),
    ]
    .into_iter()
    .enumerate()
    {
        let now = pair.now;
        let packet = RtpPacket { payload: came.into(), vp8: rewrite, ..packet(at as u64, now) };
        let payload = std::sync::Arc::clone(&packet.payload);

        pair.a.session.write_packet(sender, packet).unwrap();
        pair.a.session.flush(now);
        pair.pass(SECOND / 100);

        assert_eq!(packets(&pair.b)[at].payload[..], *expected);
        assert_eq!(payload[..], *came, "it may be another viewer's as well");
    }

    let now = pair.now;
    let bad = RtpPacket { payload: [0x90, 0xf0].into(), vp8: Some(all), ..packet(9, now) };
    assert_eq!(pair.a.session.write_packet(sender, bad), Err(WriteError::NotVp8));
}

#[test]
fn a_sender_says_where_its_stream_is() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    let now = pair.now;
    assert_eq!(pair.a.session.sender_position(sender, None), None);
    let mut write = |number: u64, timestamp: u32, picture_id: u16| {
        let vp8 = Vp8Rewrite { picture_id: Some(picture_id), ..Vp8Rewrite::default() };
        let packet = RtpPacket {
            sequence_number: number,
            timestamp,
            vp8: Some(vp8),
            payload: [0x90, 0x80, 1, 1, 2].into(),
            ..packet(0, now)
        };
        pair.a.session.write_packet(sender, packet).unwrap();
        let position = pair.a.session.sender_position(sender, None).unwrap();
        let picture_id = position.vp8.and_then(|vp8| vp8.picture_id);
        (position.sequence_number, position.timestamp, picture_id)
    };

    assert_eq!(write(70_000, 3_000, 1), (70_000, 3_000, Some(1)));
    assert_eq!(write(70_002, 6_000, 2), (70_002, 6_000, Some(2)));
    assert_eq!(write(70_001, 3_000, 1), (70_002, 6_000, Some(2)), "one that comes late");
    assert_eq!(write(5, 9_000, 3), (5, 9_000, Some(3)), "another source");
    assert_eq!(write(6, 9_000, 3), (6, 9_000, Some(3)));

    let other: Rid = "hi".parse().unwrap();
    assert_eq!(pair.a.session.sender_position(sender, Some(other)), None);
    let nobody = SenderId(uuid::Uuid::nil());
    assert_eq!(pair.a.session.sender_position(nobody, None), None);
}

/// Returns how many of 60 packets arrive if the wire loses eight of them, and the others follow at once.
fn arrive(configure: impl Fn(&mut Pair, SenderId), before: bool) -> usize {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let losing = Rc::new(Cell::new(false));
    let loses = Rc::clone(&losing);
    pair.conditions = Box::new(move |_| match loses.get() {
        true => Vec::new(),
        false => vec![Duration::from_millis(10)],
    });
    let now = pair.now;
    let sender = pair.a.session.add_track(now, super::media::video("one")).unwrap();
    if before {
        configure(&mut pair, sender);
    }
    let packet = connect_and_make(&mut pair);
    if !before {
        configure(&mut pair, sender);
    }
    let now = pair.now;
    for at in 0..60 {
        losing.set((1..9).contains(&at));
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
        pair.a.session.flush(now);
        pair.settle();
    }
    pair.pass(2 * SECOND);
    packets(&pair.b).len()
}

#[test]
fn a_sender_keeps_as_many_packets_as_it_is_told() {
    let keep = |packets| {
        move |pair: &mut Pair, sender| {
            let resend = Some((packets, 3 * SECOND));
            pair.a.session.configure_sender(sender, resend, None).unwrap();
        }
    };

    assert_eq!(arrive(|_, _| {}, true), 60, "all that is lost is sent again");
    for before in [true, false] {
        assert_eq!(arrive(keep(500), before), 60, "{before}");
        assert_eq!(arrive(keep(20), before), 52, "{before}");
    }

    let mut pair = Pair::new();
    let nobody = SenderId(uuid::Uuid::nil());
    let refused = pair.a.session.configure_sender(nobody, None, None);
    assert_eq!(refused, Err(TransceiverError::NotFound));
}

#[test]
fn a_sender_waits_for_the_pacer_unless_it_is_told_not_to() {
    let leave = |paced| {
        let mut pair = Pair::with(estimating(300_000), in_rtp_mode());
        let (sender, packet) = packets_of(&mut pair);
        pair.a.session.configure_sender(sender, None, paced).unwrap();
        pair.pass(SECOND);
        let now = pair.now;
        for at in 0..60 {
            let packet = RtpPacket { payload: vec![1; 1_000].into(), ..packet(at, now) };
            pair.a.session.write_packet(sender, packet).unwrap();
        }
        pair.a.session.flush(now);
        let at_once = waiting(&pair.a, 1_000);
        pair.pass(10 * SECOND);
        assert_eq!(packets(&pair.b).len(), 60, "in the end");
        at_once
    };

    assert_eq!(leave(Some(false)), 60);
    let paced = leave(None);
    assert!((1..30).contains(&paced), "{paced}");
    assert_eq!(leave(Some(true)), paced);
}

#[test]
fn the_peers_reports_are_told_to_forwarders() {
    let report = |event: &ConnectionEvent| match event {
        ConnectionEvent::SenderReport(report) => Some(*report),
        _ => None,
    };
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    for at in 0..100 {
        let now = pair.now;
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
        pair.a.session.flush(now);
        // As fast as the packets' RTP time: 3,000 units of 90 kHz.
        pair.pass(SECOND / 30);
    }

    let reports: Vec<SenderReport> = pair.b.events.iter().filter_map(report).collect();

    assert!((2..=6).contains(&reports.len()), "{}", reports.len());
    let transceiver = pair.b.session.transceivers()[0].id;
    assert!(reports.iter().all(|one| one.transceiver == transceiver && one.rid.is_none()));
    let (first, last) = (reports[0], reports[reports.len() - 1]);
    let took = last.ntp.duration_since(first.ntp).unwrap();
    let units = f64::from(last.rtp_time.wrapping_sub(first.rtp_time));
    assert!((units / 90_000.0 - took.as_secs_f64()).abs() < 0.05, "{units} in {took:?}");
    assert!((last.received - first.received).abs_diff(took) < Duration::from_millis(50));
}

#[test]
fn bandwidth_is_probed_as_far_as_it_is_wanted() {
    let mut pair = Pair::with(estimating(300_000), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    let mut number = 0;
    let mut send = |pair: &mut Pair, seconds: u32| {
        for _ in 0..30 * seconds {
            let now = pair.now;
            let packet = RtpPacket { payload: vec![1; 1_000].into(), ..packet(number, now) };
            pair.a.session.write_packet(sender, packet).unwrap();
            pair.a.session.flush(now);
            number += 1;
            pair.pass(SECOND / 30);
        }
    };
    assert!(pair.a.session.set_bitrate(pair.now, 0, 4_000_000));

    send(&mut pair, 15);

    let told = estimates(&pair.a);
    let highest = told.iter().map(|(bitrate, _)| *bitrate).max().unwrap();
    assert!(highest > 1_500_000, "{told:?}");
    assert!(told.iter().all(|(_, can_probe)| *can_probe), "{told:?}");
    assert_eq!(pair.a.session.estimate(), told.last().map(|(bitrate, _)| *bitrate));
    assert_eq!(pair.b.session.estimate(), None);

    // The peer's own estimate does not take its place.
    pair.a.session.handle_engine_event(pair.now, EngineEvent::ReceiverEstimate(1));
    pair.b.session.handle_engine_event(pair.now, EngineEvent::ReceiverEstimate(1));
    pair.pass(SECOND / 100);
    assert!(estimates(&pair.a).iter().all(|(_, can_probe)| *can_probe));
    assert!(pair.a.session.estimate().is_some_and(|bitrate| bitrate > 1));
    assert_eq!(estimates(&pair.b), [(1, false)]);

    assert!(pair.a.session.reset_estimate(pair.now, 200_000));
    pair.a.events.clear();
    assert!(pair.a.session.set_bitrate(pair.now, 0, 200_000));
    send(&mut pair, 2);
    let lowest = estimates(&pair.a).iter().map(|(bitrate, _)| *bitrate).min().unwrap();
    assert!(lowest < 1_000_000, "{lowest}");

    // Where nothing is estimated, both do nothing.
    assert!(!pair.b.session.set_bitrate(pair.now, 0, 4_000_000));
    assert!(!pair.b.session.reset_estimate(pair.now, 200_000));
}

/// What arrived when is of use to a sender that estimates bandwidth.
#[test]
fn a_peer_that_only_receives_sends_feedback_only_for_an_estimate() {
    for (estimate, direction, expected) in [
        (None, Direction::RecvOnly, false),
        (Some(1_000_000), Direction::RecvOnly, true),
        (None, Direction::SendRecv, true),
    ] {
        let registry = InterceptorRegistry {
            bandwidth_estimation: estimate,
            ..InterceptorRegistry::default()
        };
        let mut pair = Pair::with(Api::new(MediaEngine::default(), registry), Api::default());
        let now = pair.now;
        let track = direction.sends().then(|| video("b"));
        let session = &mut pair.b.session;
        session.add_transceiver(now, TrackKind::Video, direction, track, Vec::new()).unwrap();
        let sender = pair.a.session.add_track(now, video("a")).unwrap();
        pair.negotiate_from_b();
        pair.connect();

        let answer = &pair.b.session.jsep().remote_description().unwrap().sdp;
        for part in ["transport-cc", "transport-wide-cc", "goog-remb"] {
            assert_eq!(answer.contains(part), expected, "{part}, {estimate:?}: {answer}");
        }
        assert!(answer.contains("nack pli"), "{answer}");

        let before = pair.a.session.counters().datagrams_received;
        send_frames(&mut pair, sender, 60, 1_500);
        assert!(pair.b.samples().len() >= 55, "{}", pair.b.samples().len());
        let came = pair.a.session.counters().datagrams_received - before;
        assert_eq!(came > 25, expected, "{came} datagrams in 2 s");
    }
}

#[test]
fn a_peer_that_sends_as_well_later_gets_feedback_from_then_on() {
    let mut pair = Pair::new();
    let now = pair.now;
    let session = &mut pair.a.session;
    session.add_transceiver(now, TrackKind::Video, Direction::RecvOnly, None, Vec::new()).unwrap();
    pair.b.session.add_track(now, video("b")).unwrap();
    pair.negotiate();
    pair.connect();

    // It takes the section that is there.
    let sender = pair.a.session.add_track(pair.now, video("a")).unwrap();
    pair.negotiate();
    let answer = &pair.a.session.jsep().remote_description().unwrap().sdp;
    assert_eq!(answer.matches("m=video").count(), 1, "{answer}");
    assert!(answer.contains("transport-wide-cc"), "{answer}");

    let before = pair.a.session.counters().datagrams_received;
    send_frames(&mut pair, sender, 60, 1_500);
    let came = pair.a.session.counters().datagrams_received - before;
    assert!(came > 25, "{came} datagrams in 2 s");
}
