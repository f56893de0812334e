//! Tests of slots in offers of the peer.

use std::time::Duration;

use super::SECOND;
use super::media::video;
use super::rtp::{in_rtp_mode, packets};
use super::simulated_pair::Pair;
use crate::error::OfferSlotsError;
use crate::sdp::Sdp;
use crate::slots::Slot;
use crate::*;

/// Lets A offer, and B answer with these slots, which name sections by their numbers. Returns directions and `a=msid`
/// of the answer's sections.
fn answer(pair: &mut Pair, mut slots: Vec<Slot>) -> Vec<(String, Option<String>)> {
    let now = pair.now;
    let offer = pair.a.session.make_offer(now).unwrap();
    let offered = Sdp::parse(&offer.sdp);
    for slot in &mut slots {
        let section = slot.mid.parse().ok().and_then(|at: usize| offered.media().get(at));
        slot.mid = section.and_then(sdp::Section::mid).unwrap_or("none").to_owned();
    }
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.offer_slots(now, slots).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = pair.b.session.with_candidates(pair.b.session.jsep().local()).unwrap();
    let sections = Sdp::parse(&answer.sdp);
    pair.a.session.set_remote_description(now, answer).unwrap();
    let of = |section: &sdp::Section| {
        let direction = section.direction().unwrap_or_default().to_owned();
        (direction, section.attribute("msid").map(str::to_owned))
    };
    sections.media().iter().map(of).collect()
}

fn add(pair: &mut Pair, kind: TrackKind, direction: Direction) {
    let track = direction.sends().then(|| match kind {
        TrackKind::Audio => LocalTrack::new(RtpCodecCapability::new("audio/opus"), "voice", "a"),
        TrackKind::Video => video("camera"),
    });
    let (now, session) = (pair.now, &mut pair.a.session);
    session.add_transceiver(now, kind, direction, track, Vec::new()).unwrap();
}

fn slot(mid: &str, place: usize) -> Slot {
    Slot::new(mid, format!("stream-{place}"), format!("track-{place}"))
        .resend(20, Duration::from_secs(1))
}

#[test]
fn sections_with_a_slot_send_and_others_do_what_the_peer_has_offered() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    use Direction::*;
    add(&mut pair, TrackKind::Audio, SendOnly);
    add(&mut pair, TrackKind::Video, SendRecv);
    add(&mut pair, TrackKind::Video, SendRecv);
    add(&mut pair, TrackKind::Audio, RecvOnly);
    add(&mut pair, TrackKind::Video, RecvOnly);
    add(&mut pair, TrackKind::Video, RecvOnly);

    // One for a section that only sends, one for none, and one too many.
    let slots = ["1", "0", "3", "x", "3", "5"].into_iter().enumerate();
    let slots = slots.map(|(place, mid)| slot(mid, place)).collect();
    let answered = answer(&mut pair, slots);

    let is = |direction: &str, place: Option<usize>| {
        (direction.to_owned(), place.map(|place| format!("stream-{place} track-{place}")))
    };
    assert_eq!(
        answered,
        [
            is("recvonly", None),
            is("sendrecv", Some(0)),
            is("recvonly", None),
            is("sendonly", Some(2)),
            is("inactive", None),
            is("sendonly", Some(5)),
        ]
    );
    let needed = |event: &ConnectionEvent| matches!(event, ConnectionEvent::NegotiationNeeded);
    pair.pass(SECOND);
    assert!(!pair.b.events.iter().any(needed), "nothing is left to offer");
}

#[test]
fn a_slot_stays_what_it_is_when_the_peer_offers_again() {
    let mut pair = Pair::with(in_rtp_mode(), in_rtp_mode());
    add(&mut pair, TrackKind::Video, Direction::RecvOnly);
    let first = answer(&mut pair, vec![slot("0", 1)]);
    pair.connect();
    let sender = pair.b.session.transceivers()[0].sender;
    let codec = pair.b.session.transceivers()[0].codecs[0].0;
    let mut number = 0;
    let mut arrives = |pair: &mut Pair| {
        let now = pair.now;
        let packet = RtpPacket {
            transceiver: pair.b.session.transceivers()[0].id,
            rid: None,
            payload_type: codec,
            sequence_number: number,
            timestamp: 0,
            marker: true,
            at: now,
            captured: None,
            payload: [1; 100].into(),
            audio_level: None,
            extensions: HeaderExtensions::default(),
            vp8: None,
        };
        number += 1;
        let (written, before) =
            (pair.b.session.write_packet(sender, packet), packets(&pair.a).len());
        pair.b.session.flush(now);
        pair.pass(SECOND / 10);
        written.is_ok() && packets(&pair.a).len() > before
    };
    assert!(arrives(&mut pair));

    // With another name, for one more, and for none.
    add(&mut pair, TrackKind::Video, Direction::RecvOnly);
    let second = answer(&mut pair, vec![slot("0", 7), slot("1", 2)]);
    assert_eq!(second[0], first[0]);
    assert_eq!(second[1].1.as_deref(), Some("stream-2 track-2"));
    assert!(arrives(&mut pair));
    let third = answer(&mut pair, vec![slot("1", 2)]);
    assert_eq!(third[0], ("inactive".to_owned(), None));
    assert!(!arrives(&mut pair));
    let fourth = answer(&mut pair, vec![slot("0", 1), slot("1", 2)]);
    assert_eq!(fourth, second);
    assert!(arrives(&mut pair));
}

#[test]
fn slots_are_for_an_offer_that_waits_for_its_answer() {
    let mut pair = Pair::new();
    let now = pair.now;
    let refused = |pair: &mut Pair| pair.b.session.offer_slots(now, vec![slot("0", 1)]);
    let wrong = |state| Err(OfferSlotsError::InvalidState(state));

    assert_eq!(refused(&mut pair), wrong(SignalingState::Stable));
    pair.b.session.add_track(now, video("b")).unwrap();
    pair.b.session.make_offer(now).unwrap();
    assert_eq!(refused(&mut pair), wrong(SignalingState::HaveLocalOffer));
    pair.b.session.close(now, CloseReason::Closed);
    assert_eq!(refused(&mut pair), wrong(SignalingState::Closed));
}
