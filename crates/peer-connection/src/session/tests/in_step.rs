//! Tests of sound and picture of one peer in step, over connections that forward them.

use std::time::{Duration, Instant};

use super::media::{frame, video};
use super::rtp::in_rtp_mode;
use super::simulated_pair::Pair;
use crate::*;

/// Time that pictures take to the sender's connection.
const LATE: Duration = Duration::from_millis(150);
const STEP: Duration = Duration::from_millis(20);

/// Sends sound and pictures for 12 s, each picture as long after its capture. Returns the first moment.
fn talk(pair: &mut Pair, mut send: impl FnMut(&mut Pair, usize, u32, Instant)) -> Instant {
    let begin = pair.now;
    for step in 0..600 {
        send(pair, 0, step, begin + STEP * step);
        if let Some(step) = step.checked_sub(LATE.as_millis() as u32 / 20) {
            send(pair, 1, step, begin + STEP * step);
        }
        pair.pass(STEP);
    }
    begin
}

/// Checks that times of capture tell how sound and picture are played in step, from the first reports on. Gets the
/// steps, and the times of capture, of what has come of either.
fn check(begin: Instant, came: &[Vec<(u32, Option<Instant>)>; 2]) {
    let after = |(step, captured): &(u32, Option<Instant>)| {
        Some(captured.as_ref()?.duration_since(begin + STEP * *step))
    };
    let [sound, pictures] =
        came.each_ref().map(|of| of.iter().filter_map(after).collect::<Vec<_>>());
    // Sound is reported on each 5 s.
    assert!(sound.len() > 250 && pictures.len() > 400, "{} and {}", sound.len(), pictures.len());
    let last = sound[sound.len() - 1];
    assert!(last < LATE / 2, "the way of the fastest report: {last:?}");
    for other in sound.iter().chain(&pictures) {
        assert!(
            other.abs_diff(last) <= Duration::from_millis(5),
            "{other:?}, and at last {last:?}"
        );
    }
}

#[test]
fn packets_have_the_time_at_which_they_were_captured() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    let now = pair.now;
    let audio = LocalTrack::new(RtpCodecCapability::new("audio/opus"), "sound", "stream");
    let tracks = [audio, video("picture")];
    let senders = tracks.map(|track| pair.a.session.add_track(now, track).unwrap());
    pair.negotiate();
    pair.connect();
    let transceivers = pair.a.session.transceivers();
    let payload_types = [0, 1].map(|at: usize| transceivers[at].codecs[0].0);
    let begin = talk(&mut pair, |pair, kind, step, captured| {
        let packet = RtpPacket {
            transceiver: TransceiverId(Default::default()),
            rid: None,
            payload_type: payload_types[kind],
            sequence_number: step.into(),
            timestamp: step * [960, 1_800][kind],
            marker: true,
            at: pair.now,
            captured: Some(captured),
            payload: vec![1; 100].into(),
            audio_level: None,
            extensions: HeaderExtensions::default(),
            vp8: None,
        };
        pair.a.session.write_packet(senders[kind], packet).unwrap();
        let now = pair.now;
        pair.a.session.flush(now);
    });

    let mut came = [Vec::new(), Vec::new()];
    for packet in super::rtp::packets(&pair.b) {
        let kind = usize::from(packet.payload_type == payload_types[1]);
        came[kind].push((packet.timestamp / [960, 1_800][kind], packet.captured));
    }
    check(begin, &came);
}

#[test]
fn frames_have_the_time_at_which_they_were_captured_and_keep_it_when_forwarded() {
    let mut pair = Pair::new();
    let now = pair.now;
    let audio = LocalTrack::new(RtpCodecCapability::new("audio/opus"), "sound", "stream");
    let tracks = [audio, video("picture")];
    let senders = tracks.map(|track| pair.a.session.add_track(now, track).unwrap());
    pair.negotiate();
    pair.connect();
    let begin = talk(&mut pair, |pair, kind, step, captured| {
        let data = if kind == 0 { vec![0xfc; 60] } else { frame(200) };
        let timestamp = Some(u64::from(step * [960, 1_800][kind]));
        let captured = Some(captured);
        let sample = Sample { timestamp, captured, ..Sample::new(data, STEP) };
        let now = pair.now;
        pair.a.session.write_sample(now, senders[kind], sample).unwrap();
    });

    let mut came = [Vec::new(), Vec::new()];
    for sample in pair.b.samples() {
        let kind = usize::from(sample.codec.kind() == Some(TrackKind::Video));
        came[kind].push((sample.timestamp as u32 / [960, 1_800][kind], sample.captured));
        let forwarded = Sample::from(sample).captured;
        assert_eq!(forwarded, sample.captured.or(Some(sample.received)));
    }
    check(begin, &came);
}
