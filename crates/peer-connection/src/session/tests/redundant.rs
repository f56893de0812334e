//! Tests of sound with copies of earlier frames (RFC 2198).

use std::path::Path;
use std::time::{Duration, Instant};

use super::rtp::packets;
use super::simulated_pair::Pair;
use crate::error::*;
use crate::*;

fn api(codecs: &[Codec]) -> Api {
    let settings = ApiSettings { media_mode: MediaMode::Rtp, ..ApiSettings::default() };
    let engine = MediaEngine::of(codecs.iter().copied());
    Api::with_settings(engine, InterceptorRegistry::default(), settings)
}

const REDUNDANT: [Codec; 3] = [Codec::Opus, Codec::Red, Codec::Vp8];
const PLAIN: [Codec; 2] = [Codec::Opus, Codec::Vp8];

/// Connects two that have these codecs. One of them sends sound.
fn connected(ours: &[Codec], theirs: &[Codec]) -> (Pair, SenderId) {
    let mut pair = Pair::with(api(ours), api(theirs));
    let now = pair.now;
    let voice = LocalTrack::new(RtpCodecCapability::new("audio/opus"), "voice", "stream");
    let sender = pair.a.session.add_track(now, voice).unwrap();
    pair.negotiate();
    pair.connect();
    (pair, sender)
}

/// Returns the payload types of Opus and of redundant Opus.
fn numbers(pair: &mut Pair) -> (Option<u8>, Option<u8>) {
    let codecs = &pair.a.session.transceivers()[0].codecs;
    let number = |mime: &str| {
        let mut found = codecs.iter().filter(|(_, codec)| codec.mime_type == mime);
        found.next().map(|(number, _)| *number)
    };
    (number("audio/opus"), number("audio/red"))
}

fn packet(payload_type: u8, number: u64, payload: &[u8], at: Instant) -> RtpPacket {
    RtpPacket {
        transceiver: TransceiverId(uuid::Uuid::nil()),
        rid: None,
        payload_type,
        sequence_number: 100 + number,
        timestamp: 960 * number as u32,
        marker: false,
        at,
        captured: None,
        payload: payload.into(),
        audio_level: None,
        extensions: Default::default(),
        vp8: None,
    }
}

#[test]
fn redundant_packets_pass_as_they_are_beside_plain_ones() {
    let (mut pair, sender) = connected(&REDUNDANT, &REDUNDANT);
    let (Some(plain), Some(red)) = numbers(&mut pair) else { panic!("{:?}", numbers(&mut pair)) };
    let payloads: [&[u8]; 4] =
        [&[0xf8, 1], &[0x80 | plain, 0x0f, 0, 2, plain, 0xf8, 1, 0xf8, 2], &[0xf8, 3], &[red]];
    for (number, payload) in payloads.into_iter().enumerate() {
        let payload_type = if number % 2 == 0 { plain } else { red };
        let packet = packet(payload_type, number as u64, payload, pair.now);
        pair.a.session.write_packet(sender, packet).unwrap();
        let now = pair.now;
        pair.a.session.flush(now);
        pair.pass(Duration::from_millis(20));
    }

    let came: Vec<_> =
        packets(&pair.b).iter().map(|it| (it.payload_type, it.payload.to_vec())).collect();
    let sent = payloads.into_iter().zip([plain, red, plain, red]);
    assert_eq!(came, sent.map(|(payload, number)| (number, payload.to_vec())).collect::<Vec<_>>());
}

#[test]
fn redundancy_needs_both_sides() {
    for (ours, theirs) in [(&REDUNDANT[..], &PLAIN[..]), (&PLAIN, &REDUNDANT), (&PLAIN, &PLAIN)] {
        let (mut pair, sender) = connected(ours, theirs);
        let (Some(_), None) = numbers(&mut pair) else { panic!("{:?}", numbers(&mut pair)) };
        let packet = packet(63, 0, &[0xf8], pair.now);
        let refused = Err(WriteError::NotNegotiated);
        assert_eq!(pair.a.session.write_packet(sender, packet), refused);
    }
}

#[test]
fn chromiums_offers_are_answered_with_redundancy_first() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    let mut answered = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("chromium-offer") {
            continue;
        }
        let offer = std::fs::read_to_string(&path).unwrap();
        if !offer.contains("a=rtpmap:63 red/48000/2") {
            continue;
        }
        let mut pair = Pair::with(api(&REDUNDANT), api(&REDUNDANT));
        let now = pair.now;
        let offer = SessionDescription::offer(offer);
        pair.a.session.set_remote_description(now, offer).unwrap();
        let answer = pair.a.session.create_answer(now).unwrap().sdp;
        pair.a.session.set_local_description(now, None).unwrap();
        // Chromium sends what comes first.
        let taken = |line: &&str| line.starts_with("m=audio ") && !line.starts_with("m=audio 0 ");
        let Some(section) = answer.lines().find(taken) else { continue };
        let formats: Vec<_> = section.split(' ').skip(3).take(2).collect();
        assert_eq!(formats, ["63", "111"], "{name}: {section}");
        assert!(answer.contains("a=fmtp:63 111/111\r\n"), "{name}: {answer}");
        answered += 1;
    }
    assert!(answered > 5, "{answered} offers");
}
