//! Tests of packets in RTP mode, and of when media is sent.

use std::time::{Duration, Instant};

use super::SECOND;
use super::media::{frame, video};
use super::simulated_pair::{Pair, Peer};
use crate::error::*;
use crate::session::SessionOutput;
use crate::*;

pub(super) fn in_rtp_mode() -> Api {
    in_rtp_mode_with(InterceptorRegistry::default())
}

pub(super) fn in_rtp_mode_with(registry: InterceptorRegistry) -> Api {
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    Api::with_settings(MediaEngine::default(), registry, settings)
}

pub(super) fn packets(peer: &Peer) -> Vec<&RtpPacket> {
    fn packet(event: &ConnectionEvent) -> Option<&RtpPacket> {
        match event {
            ConnectionEvent::Packet(packet) => Some(packet),
            _ => None,
        }
    }
    peer.events.iter().filter_map(packet).collect()
}

/// Adds a track to this side, connects, and returns a function that makes packets for it.
pub(super) fn packets_of(
    pair: &mut Pair,
) -> (SenderId, impl Fn(u64, Instant) -> RtpPacket + use<>) {
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("one")).unwrap();
    (sender, connect_and_make(pair))
}

/// Connects, and returns a function that makes packets for the first track.
pub(super) fn connect_and_make(pair: &mut Pair) -> impl Fn(u64, Instant) -> RtpPacket + use<> {
    pair.negotiate();
    pair.connect();
    let transceiver = pair.a.session.transceivers()[0].clone();
    move |at, now| RtpPacket {
        transceiver: transceiver.id,
        rid: None,
        payload_type: transceiver.codecs[0].0,
        sequence_number: 100 + at,
        timestamp: 3_000 * at as u32,
        marker: at % 2 == 1,
        at: now,
        captured: None,
        payload: vec![at as u8; 500].into(),
        audio_level: None,
        extensions: Default::default(),
        vp8: None,
    }
}

/// Returns how many datagrams of at least this length wait to be sent.
pub(super) fn waiting(peer: &Peer, length: usize) -> usize {
    let large = |output: &&SessionOutput| matches!(output, SessionOutput::Transmit(transmit) if transmit.contents.len() >= length);
    peer.session.output.iter().filter(large).count()
}

#[test]
fn media_goes_out_without_waiting_for_a_timer() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    let now = pair.now;
    for at in 0..5 {
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
    }
    assert_eq!(waiting(&pair.a, 500), 0);
    pair.a.session.flush(now);
    assert_eq!(waiting(&pair.a, 500), 5);

    let mut pair = Pair::new();
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("camera")).unwrap();
    pair.negotiate();
    pair.connect();
    let now = pair.now;
    pair.a.session.write_sample(now, sender, Sample::new(frame(3_000), SECOND / 30)).unwrap();
    assert_eq!(waiting(&pair.a, 500), 3);
}

#[test]
fn in_rtp_mode_packets_go_as_they_are() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    for at in 0..20_u64 {
        let now = pair.now;
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
        pair.a.session.flush(now);
        pair.pass(Duration::from_millis(10));
    }
    pair.pass(SECOND);
    let packets: Vec<&RtpPacket> = pair
        .b
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Packet(packet) => Some(packet),
            _ => None,
        })
        .collect();
    assert_eq!(packets.len(), 20);
    assert!(
        packets.iter().enumerate().all(|(at, packet)| packet.payload[..] == vec![at as u8; 500])
    );
    assert!(packets[1].marker && !packets[2].marker);

    let now = pair.now;
    let sample = pair.a.session.write_sample(now, sender, Sample::new(frame(10), SECOND));
    assert_eq!(sample, Err(WriteError::OtherMode));
    let mut wrong = packets[0].clone();
    wrong.payload_type = 3;
    assert_eq!(pair.a.session.write_packet(sender, wrong), Err(WriteError::NotNegotiated));
}

/// The pacer lets one packet out each time that it is given the time.
#[test]
fn with_bandwidth_estimation_what_is_due_goes_out_at_once() {
    let registry = InterceptorRegistry {
        bandwidth_estimation: Some(50_000_000),
        ..InterceptorRegistry::default()
    };
    let mut pair = Pair::with(in_rtp_mode_with(registry), in_rtp_mode());
    let (sender, packet) = packets_of(&mut pair);
    pair.pass(SECOND);
    let now = pair.now;
    for at in 0..20 {
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
    }
    pair.a.session.flush(now);
    // 40 ms at 50 Mbit/s are 250 KB.
    assert_eq!(waiting(&pair.a, 500), 20);

    pair.pass(SECOND);
    assert_eq!(packets(&pair.b).len(), 20);
}

/// The receiver takes the upper bits of the first number for 0 (RFC 3711 §3.3.1).
#[test]
fn a_stream_that_is_forwarded_from_its_middle_is_decrypted() {
    for first in [65_436, 65_535, 70_000, 1 << 40] {
        let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
        let (sender, packet) = packets_of(&mut pair);
        let send = |pair: &mut Pair, number: u64| {
            let now = pair.now;
            let packet = RtpPacket { sequence_number: number, ..packet(1, now) };
            pair.a.session.write_packet(sender, packet).unwrap();
            pair.a.session.flush(now);
            pair.pass(Duration::from_millis(5));
        };
        // The second packet comes late, and one is lost.
        for number in [first, first + 2, first + 1, first + 4] {
            send(&mut pair, number);
        }
        // Another source, in the middle of its own numbers, and back.
        for number in [first + 900_000, first + 900_001, 7, 8] {
            send(&mut pair, number);
        }
        pair.pass(SECOND);
        let numbers: Vec<u64> =
            packets(&pair.b).iter().map(|packet| packet.sequence_number).collect();
        assert_eq!(numbers.len(), 8, "{first}: {numbers:?}");
        let begin = numbers[0];
        let expected = [0, 2, 1, 4, 5, 6, 7, 8].map(|number| begin + number);
        assert_eq!(numbers, expected, "{first}");
        assert!(begin < 32_768, "{begin}");
    }
}

/// In steps that are shorter than half of the 16 bits: so the receiver knows how often the numbers wrap.
#[test]
fn numbers_go_on_over_many_wraps() {
    for first in [0, 40_000, 1 << 40] {
        let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
        let (sender, packet) = packets_of(&mut pair);
        let numbers: Vec<u64> = (0..20).map(|at| first + 30_000 * at).collect();

        for number in &numbers {
            let now = pair.now;
            let packet = RtpPacket { sequence_number: *number, ..packet(1, now) };
            pair.a.session.write_packet(sender, packet).unwrap();
            pair.a.session.flush(now);
            pair.pass(Duration::from_millis(20));
        }

        let came: Vec<u64> = packets(&pair.b).iter().map(|packet| packet.sequence_number).collect();
        let begin = came[0];
        assert!(begin < 32_768, "{begin}");
        let expected: Vec<u64> = numbers.iter().map(|number| number - first + begin).collect();
        assert_eq!(came, expected);
    }
}

#[test]
fn header_extensions_go_with_their_packet() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let now = pair.now;
    let codec = RtpCodecCapability::new("audio");
    let sound = LocalTrack::new(codec, "sound", "s");
    let sound = pair.a.session.add_track(now, sound).unwrap();
    let (picture, packet) = packets_of(&mut pair);
    let transceivers = pair.a.session.transceivers();
    let of = |sender| transceivers.iter().find(|one| one.sender == sender).unwrap().clone();
    let mut number = 0;
    let mut send = |pair: &mut Pair, sender, level, extensions: HeaderExtensions| {
        let now = pair.now;
        number += 1;
        let packet = RtpPacket {
            payload_type: of(sender).codecs[0].0,
            audio_level: level,
            extensions,
            ..packet(number, now)
        };
        pair.a.session.write_packet(sender, packet).unwrap();
        pair.a.session.flush(now);
        pair.pass(Duration::from_millis(30));
        packets(&pair.b).last().map(|packet| (packet.audio_level, packet.extensions.clone()))
    };
    let voice = HeaderExtensions { voice_activity: Some(true), ..HeaderExtensions::default() };
    let (level, extensions) = send(&mut pair, sound, Some(-37), voice).unwrap();
    assert_eq!((level, extensions.voice_activity), (Some(-37), Some(true)));

    let (level, extensions) = send(&mut pair, sound, Some(-90), Default::default()).unwrap();
    assert_eq!((level, extensions.voice_activity), (Some(-90), Some(false)));

    let turned = HeaderExtensions {
        video_orientation: Some(VideoOrientation::Quarter),
        ..HeaderExtensions::default()
    };
    let (_, extensions) = send(&mut pair, picture, None, turned.clone()).unwrap();
    assert_eq!(extensions.video_orientation, Some(VideoOrientation::Quarter));
}

#[test]
fn the_peer_reports_how_packets_arrive() {
    let registry = || InterceptorRegistry { nack: false, rtx: false, ..Default::default() };
    let mut pair = Pair::with(in_rtp_mode_with(registry()), in_rtp_mode_with(registry()));
    let (sender, packet) = packets_of(&mut pair);
    let mut count = 0;
    pair.conditions = Box::new(move |_| {
        count += 1;
        if count % 10 == 0 { Vec::new() } else { vec![Duration::from_millis(10)] }
    });

    for at in 0..800 {
        let now = pair.now;
        pair.a.session.write_packet(sender, packet(at, now)).unwrap();
        pair.a.session.flush(now);
        pair.pass(Duration::from_millis(10));
    }

    let told = pair.a.events.iter().filter_map(|event| match event {
        ConnectionEvent::ReceptionReports(reports) => Some(reports),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!((4..=9).contains(&told.len()), "once a second: {told:?}");
    let last = *told.last().unwrap().first().unwrap();
    assert_eq!(last.transceiver, pair.a.session.transceivers()[0].id);
    assert!((0.02..0.3).contains(&last.fraction_lost), "{last:?}");
    assert!((20..300).contains(&last.packets_lost), "{last:?}");
    assert!(last.jitter < Duration::from_millis(100), "{last:?}");
    let round_trip = last.round_trip_time.unwrap();
    assert!((15..60).contains(&round_trip.as_millis()), "{last:?}");
    let of_b = pair.b.events.iter();
    let of_b = of_b.filter(|event| matches!(event, ConnectionEvent::ReceptionReports(_)));
    assert_eq!(of_b.count(), 0, "it sends nothing");
}
