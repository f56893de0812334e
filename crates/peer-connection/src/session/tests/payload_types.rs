//! Tests that a payload type means one thing in all sections of a description.

use super::guards::{offer, refused};
use super::simulated_pair::Pair;
use crate::error::DescriptionError;
use crate::*;

/// str0m panics at each of these ("Pt locked multiple times").
#[test]
fn a_payload_type_means_one_thing() {
    use DescriptionError as Error;
    let parsed = sdp::Sdp::parse(&offer());
    let video =
        parsed.media().iter().find(|one| one.kind() == sdp::MediaKind::Video).unwrap().clone();
    let with_second = |change: fn(String) -> String| {
        let mut two = parsed.clone();
        let text = change(video.to_string()).replace(video.mid().unwrap(), "second");
        two.media_mut().extend(sdp::Sdp::parse(&text).media().to_vec());
        let mids: Vec<String> =
            two.media().iter().filter_map(|one| one.mid().map(str::to_owned)).collect();
        two.set_bundle(&mids.iter().map(String::as_str).collect::<Vec<_>>());
        two.to_string()
    };
    let changes: [fn(String) -> String; 3] = [
        |text| text.replacen("VP8/90000", "VP9/90000", 1),
        |text| text.replace("packetization-mode=1", "packetization-mode=0"),
        |text| text.replacen("apt=96", "apt=98", 1),
    ];
    for change in changes {
        let mut pair = Pair::new();
        let now = pair.now;
        let offer = with_second(change);
        pair.b.session.set_remote_description(now, SessionDescription::offer(offer)).unwrap();
        let answer = sdp::Sdp::parse(&pair.b.session.create_answer(now).unwrap().sdp);
        // The section is accepted with the remaining payload types.
        let [.., first, _, second] = answer.media() else { panic!() };
        assert!(second.port() != Some(0));
        assert!(second.formats().count() < first.formats().count(), "{first} {second}");
    }
    let nothing_left = with_second(|text| {
        text.replace("VP8", "X8")
            .replace("VP9", "X9")
            .replace("H264", "X2")
            .replace("AV1", "X1")
            .replace("apt=", "apt=1")
    });
    assert!(matches!(refused(&nothing_left), Error::PayloadTypeReused(_)));
    // Two sections alike are fine.
    let mut pair = Pair::new();
    let now = pair.now;
    let fine = with_second(|text| text);
    pair.b.session.set_remote_description(now, SessionDescription::offer(fine)).unwrap();
    pair.b.session.create_answer(now).unwrap();
}

/// So does Firefox when a transceiver was stopped: its section describes one format, without the parameters.
#[test]
fn a_rejected_section_gives_payload_types_no_other_meaning() {
    let parsed = sdp::Sdp::parse(&offer());
    let is_video = |one: &&sdp::Section| one.kind() == sdp::MediaKind::Video;
    let video = parsed.media().iter().find(is_video).unwrap();
    let format = video.attributes("fmtp").find_map(|it| it.split(' ').next()).unwrap().to_owned();
    let mut rejected = video.clone();
    rejected.set_attribute("mid", "rejected");
    rejected.set_port(0);
    rejected.set_formats([&*format]);
    rejected.retain_attributes(|name, value| match name {
        "fmtp" => false,
        "rtpmap" | "rtcp-fb" => value.starts_with(&format!("{format} ")),
        _ => true,
    });
    // Wherever it stands.
    for place in [0, parsed.media().len()] {
        let mut two = parsed.clone();
        two.media_mut().insert(place, rejected.clone());
        let mut pair = Pair::new();
        let now = pair.now;
        let offer = SessionDescription::offer(two.to_string());
        pair.b.session.set_remote_description(now, offer).unwrap();
        let answer = sdp::Sdp::parse(&pair.b.session.create_answer(now).unwrap().sdp);

        let other = answer.media().iter().filter(is_video).find(|one| one.port() != Some(0));
        assert!(other.unwrap().formats().any(|one| one == format), "{answer}");
        assert_eq!(answer.media()[place].port(), Some(0), "{answer}");
    }
}

/// `max-bundle` makes offers like this (RFC 9143 §6): port 0, and not rejected.
#[test]
fn a_payload_type_means_one_thing_also_where_a_section_is_offered_as_bundle_only() {
    let plain = offer();
    let text = |codec: &str| {
        let mut sdp = sdp::Sdp::parse(&plain);
        for section in sdp.media_mut().iter_mut().skip(1) {
            section.set_port(0);
            section.push_attribute("bundle-only", None);
        }
        sdp.to_string().replace("VP8/90000", codec)
    };
    let mut pair = Pair::new();
    let now = pair.now;
    pair.b
        .session
        .set_remote_description(now, SessionDescription::offer(text("VP8/90000")))
        .unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let formats = |pair: &Pair| {
        let answer =
            sdp::Sdp::parse(&pair.b.session.jsep().current_local().unwrap().description().sdp);
        let mut videos = answer.media().iter().filter(|one| one.kind() == sdp::MediaKind::Video);
        videos.next().unwrap().formats().count()
    };
    let first = formats(&pair);
    assert!(first > 1);

    pair.b
        .session
        .set_remote_description(now, SessionDescription::offer(text("VP9/90000")))
        .unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    assert!(formats(&pair) < first, "what means something else is not taken");
}
