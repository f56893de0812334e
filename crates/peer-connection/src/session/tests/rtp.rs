//! Packets as they are, and when media goes out.

use std::time::{Duration, Instant};

use super::SECOND;
use super::media::{frame, video};
use super::pair::{Pair, Peer};
use crate::error::*;
use crate::session::SessionOutput;
use crate::*;

fn in_rtp_mode() -> Api {
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    Api::with_settings(MediaEngine::default(), Registry::default(), settings)
}

/// A track of this side's, with packets for it.
fn packets_of(pair: &mut Pair) -> (SenderId, impl Fn(u64, Instant) -> RtpPacket + use<>) {
    let now = pair.now;
    let sender = pair.a.session.add_track(now, video("one")).unwrap();
    pair.negotiate();
    pair.connect();
    let transceiver = pair.a.session.transceivers()[0].clone();
    let packet = move |at, now| RtpPacket {
        transceiver: transceiver.id,
        rid: None,
        payload_type: transceiver.codecs[0].0,
        sequence_number: 100 + at,
        timestamp: 3_000 * at as u32,
        marker: at % 2 == 1,
        at: now,
        payload: vec![at as u8; 500].into(),
        audio_level: None,
    };
    (sender, packet)
}

/// How many datagrams wait to be sent that hold something as long as this.
fn waiting(peer: &Peer, length: usize) -> usize {
    let large = |output: &&SessionOutput| matches!(output, SessionOutput::Transmit { contents, .. } if contents.len() >= length);
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
