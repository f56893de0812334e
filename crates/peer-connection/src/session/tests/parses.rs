//! Tests that each description is parsed once: that of the peer when it comes, and the engine's text of this side's.

use super::media::video;
use super::simulated_pair::{Pair, Peer};
use crate::sdp::parses;
use crate::*;

/// Returns a pair with audio, video and a data channel on A, whose local descriptions have their candidates.
fn with_all() -> Pair {
    let settings = ApiSettings { inline_candidates: true, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut pair = Pair::with(api.clone(), api);
    let now = pair.now;
    pair.channel("x", DataChannelOptions::default());
    pair.a.session.add_track(now, video("v")).unwrap();
    let audio = LocalTrack::new(RtpCodecCapability::new("audio/opus"), "a", "s");
    pair.a.session.add_track(now, audio).unwrap();
    pair
}

/// Returns the local description, and how many descriptions were parsed for it.
fn local(peer: &Peer) -> (SessionDescription, usize) {
    parses::of(|| peer.session.with_candidates(peer.session.jsep().local()).unwrap())
}

#[test]
fn an_offer_and_its_answer_are_parsed_twice_on_each_side() {
    let mut pair = with_all();
    let now = pair.now;
    let (a, b) = (&mut pair.a.session, &mut pair.b.session);

    let (offer, parsed) = parses::of(|| a.create_offer(false).unwrap());
    assert_eq!(parsed, 1, "the engine's text of the offer");
    let (_, parsed) = parses::of(|| a.set_local_description(now, Some(offer.clone())).unwrap());
    assert_eq!(parsed, 0, "it is the one that was created");

    let (accepted, parsed) = parses::of(|| b.accept_offer(now, offer).unwrap());
    assert_eq!(parsed, 2, "the offer, and the engine's text of the answer");

    let (_, parsed) = parses::of(|| a.set_remote_description(now, accepted.answer).unwrap());
    assert_eq!(parsed, 1, "the answer");

    let ((), parsed) = parses::of(|| pair.connect());
    assert_eq!(parsed, 0, "candidates come, and nothing is read again for them");
    let (description, parsed) = local(&pair.a);
    assert!(description.sdp.contains("a=candidate:"), "{}", description.sdp);
    assert_eq!(parsed, 0, "candidates are added to what is kept");
}

#[test]
fn what_changes_later_parses_nothing_again() {
    let mut pair = with_all();
    pair.negotiate();
    pair.connect();
    let now = pair.now;
    let a = &mut pair.a.session;
    let id = a.transceivers().iter().find(|one| one.kind == TrackKind::Video).unwrap().id;

    let (changed, parsed) =
        parses::of(|| a.change(now, |all| all.set_direction(id, Direction::Inactive)));
    assert_eq!((changed, parsed), (Ok(()), 0), "a negotiation is needed");

    let (offer, parsed) = parses::of(|| a.create_offer(false).unwrap());
    assert_eq!(parsed, 0, "the engine adds nothing to the description in force");
    assert!(offer.sdp.contains("a=inactive"), "{}", offer.sdp);
    a.set_local_description(now, None).unwrap();
    let (_, parsed) = parses::of(|| a.create_offer(false).unwrap());
    assert_eq!(parsed, 0, "the pending one is created again");

    let (_, parsed) = parses::of(|| pair.b.session.accept_offer(now, offer).unwrap());
    assert_eq!(parsed, 2);
}

#[test]
fn a_description_with_candidates_added_is_another_text() {
    let mut pair = with_all();
    let now = pair.now;
    let a = &mut pair.a.session;
    let offer = a.create_offer(false).unwrap();
    let text = offer.sdp.clone() + "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n";

    let given = SessionDescription::offer(text.clone());
    let (_, parsed) = parses::of(|| a.set_local_description(now, Some(given)).unwrap());

    assert_eq!(parsed, 1);
    assert_eq!(a.jsep().pending_local().map(|local| local.description().sdp), Some(text));
}
