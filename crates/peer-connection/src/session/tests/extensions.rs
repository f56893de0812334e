//! Tests of the header extensions that connections agree on.

use std::time::Duration;

use super::SECOND;
use super::rtp::{packets, packets_of};
use super::simulated_pair::Pair;
use crate::error::WriteError;
use crate::sdp::Sdp;
use crate::*;

fn with(extensions: &[HeaderExtension]) -> Api {
    let settings = ApiSettings {
        media_mode: MediaMode::Rtp,
        extensions: extensions.into(),
        ..ApiSettings::default()
    };
    Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings)
}

const NEW: [HeaderExtension; 4] = [
    HeaderExtension::AbsoluteCaptureTime,
    HeaderExtension::PlayoutDelay,
    HeaderExtension::VideoLayersAllocation,
    HeaderExtension::DependencyDescriptor,
];

/// Extensions of a packet; the times on the wire are exact to 10 ms and to a microsecond.
fn all() -> HeaderExtensions {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    HeaderExtensions {
        capture_time: Some(CaptureTime { time, clock_offset: Some(-7 << 30) }.into()),
        playout_delay: Some(
            PlayoutDelay { min: Duration::ZERO, max: Duration::from_millis(400) }.into(),
        ),
        video_layers: Some([1, 0, 50].into()),
        dependency_descriptor: Some((0..70).collect()),
        video_orientation: Some(VideoOrientation::Half),
        ..HeaderExtensions::default()
    }
}

/// Returns what arrives of a packet's extensions, and the URIs of the answer.
fn arrive(ours: &[HeaderExtension], theirs: &[HeaderExtension]) -> (HeaderExtensions, Vec<String>) {
    let mut pair = Pair::with(with(ours), with(theirs));
    let (sender, packet) = packets_of(&mut pair);
    let now = pair.now;
    let packet = RtpPacket { extensions: all(), ..packet(0, now) };
    pair.a.session.write_packet(sender, packet).unwrap();
    pair.a.session.flush(now);
    pair.pass(SECOND);
    let answer = Sdp::parse(&pair.a.session.jsep().remote_description().unwrap().sdp);
    let uris = answer.media()[0].attributes("extmap").map(|value| {
        let (_, uri) = value.split_once(' ').unwrap();
        uri.to_owned()
    });
    let arrived = packets(&pair.b);
    assert_eq!(arrived.len(), 1, "the packet arrives with any extensions");
    (arrived[0].extensions.clone(), uris.collect())
}

#[test]
fn extensions_that_both_sides_choose_travel_with_their_packet() {
    let others = [&NEW[..], &[HeaderExtension::VideoOrientation]].concat();
    let (arrived, uris) = arrive(&others, &others);
    assert_eq!(arrived, all());
    for one in &others {
        assert!(uris.iter().any(|uri| uri == one.uri()), "{one:?}: {uris:#?}");
    }

    for one in NEW {
        for (ours, theirs) in [(&[one][..], &NEW[..]), (&NEW[..], &[one][..])] {
            let (arrived, uris) = arrive(ours, theirs);
            let is = |other, came: bool| assert_eq!(came, one == other, "{other:?}: {arrived:?}");
            is(HeaderExtension::AbsoluteCaptureTime, arrived.capture_time.is_some());
            is(HeaderExtension::PlayoutDelay, arrived.playout_delay.is_some());
            is(HeaderExtension::VideoLayersAllocation, arrived.video_layers.is_some());
            is(HeaderExtension::DependencyDescriptor, arrived.dependency_descriptor.is_some());
            assert_eq!(arrived.video_orientation, None, "it was not chosen");
            let agreed = NEW.iter().filter(|new| uris.iter().any(|uri| uri == new.uri()));
            assert!(agreed.eq([&one]), "{uris:#?}");
        }
    }
}

#[test]
fn by_default_only_the_usual_extensions_are_agreed_on() {
    let usual = ApiSettings::default().extensions;
    let (arrived, uris) = arrive(&[&NEW[..], &usual].concat(), &usual);
    let expected = HeaderExtensions {
        video_orientation: Some(VideoOrientation::Half),
        ..HeaderExtensions::default()
    };
    assert_eq!(arrived, expected);
    assert!(NEW.iter().all(|one| !uris.iter().any(|uri| uri == one.uri())), "{uris:#?}");

    // None but those without which streams cannot be distinguished.
    let (arrived, uris) = arrive(&[], &usual);
    assert_eq!(arrived, HeaderExtensions::default());
    assert_eq!(uris.len(), 4, "{uris:#?}");
}

#[test]
fn extensions_keep_to_their_width() {
    let mut pair = Pair::with(with(&NEW), with(&NEW));
    let (sender, packet) = packets_of(&mut pair);
    let mut number = 0;
    let mut write = |pair: &mut Pair, extensions, length| -> Result<_, WriteError> {
        let now = pair.now;
        let payload = vec![7; length].into();
        let packet = RtpPacket { extensions, payload, ..packet(number, now) };
        number += 1;
        pair.a.session.write_packet(sender, packet)?;
        pair.a.session.flush(now);
        pair.pass(SECOND / 10);
        Ok(packets(&pair.b).last().unwrap().extensions.clone())
    };

    let long = PlayoutDelay { min: Duration::from_secs(90), max: Duration::MAX };
    let sent = HeaderExtensions { playout_delay: Some(long.into()), ..HeaderExtensions::default() };
    let came = write(&mut pair, sent, 100).unwrap().playout_delay.unwrap();
    assert_eq!(came.min, Duration::from_millis(40_950));
    assert_eq!(came.max, came.min);

    let of = |length: usize| HeaderExtensions {
        dependency_descriptor: Some(vec![1; length].into()),
        ..HeaderExtensions::default()
    };
    for length in [1, 16, 17, 255] {
        assert_eq!(write(&mut pair, of(length), 1_245), Ok(of(length)), "{length} bytes");
    }
    for length in [0, 256] {
        assert_eq!(write(&mut pair, of(length), 100), Ok(HeaderExtensions::default()));
    }
    assert_eq!(write(&mut pair, of(255), 1_246), Err(WriteError::TooLarge));
    // As much as fits, in both.
    let most = HeaderExtensions { video_layers: Some(vec![2; 255].into()), ..of(255) };
    assert_eq!(write(&mut pair, most.clone(), 990), Ok(most));
}
