//! Tests that an offer is answered by one command as by W3C's three calls, also where it is refused.

use super::media::video;
use super::simulated_pair::Pair;
use crate::error::{AcceptOfferError, CreateOfferError, SetDescriptionError};
use crate::*;

/// Returns a pair, and an offer of its A for its B, which has a track to send.
fn offered() -> (Pair, SessionDescription) {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.channel("x", DataChannelOptions::default());
    pair.a.session.add_track(now, video("v")).unwrap();
    pair.b.session.add_track(now, video("w")).unwrap();
    pair.a.session.set_local_description(now, None).unwrap();
    let offer = pair.a.session.jsep().local().unwrap().description();
    (pair, offer)
}

/// Answers by W3C's calls.
fn by_three_calls(
    pair: &mut Pair,
    offer: SessionDescription,
) -> Result<SessionDescription, SetDescriptionError> {
    let now = pair.now;
    let b = &mut pair.b.session;
    b.set_remote_description(now, offer)?;
    b.set_local_description(now, None)?;
    Ok(b.with_candidates(b.jsep().local()).unwrap())
}

/// Answers by one command.
fn by_one(
    pair: &mut Pair,
    offer: SessionDescription,
) -> Result<SessionDescription, SetDescriptionError> {
    let now = pair.now;
    match pair.b.session.accept_offer(now, offer) {
        Ok(accepted) => {
            assert_eq!(accepted.sections, *pair.b.session.jsep().answered_sections());
            Ok(accepted.answer)
        }
        Err(AcceptOfferError::Offer(error) | AcceptOfferError::Answer(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// Returns the lines of a description that are no random numbers.
fn lines(description: &SessionDescription) -> Vec<&str> {
    let random = ["o=", "a=ice-", "a=fingerprint:", "a=ssrc", "a=msid:"];
    let lines = description.sdp.lines();
    lines.filter(|line| !random.iter().any(|name| line.starts_with(name))).collect()
}

/// Everything of B that a description changes, without random numbers.
fn state(pair: &Pair) -> impl PartialEq + std::fmt::Debug {
    let jsep = pair.b.session.jsep();
    let transceivers = jsep.transceivers().iter();
    let transceivers: Vec<_> = transceivers
        .map(|one| (one.mid.is_some(), one.direction, one.current, one.fired, one.stopped))
        .collect();
    let local = [jsep.current_local(), jsep.pending_local()].map(|local| local.is_some());
    let remote = [jsep.current_remote(), jsep.pending_remote()].map(|remote| remote.is_some());
    (jsep.signaling(), local, remote, transceivers, format!("{:?}", pair.b.state()))
}

/// Returns the names of the events that B has sent.
fn events(pair: &Pair) -> Vec<String> {
    let name = |event: &ConnectionEvent| {
        let text = format!("{event:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    };
    pair.b.events.iter().map(name).collect()
}

#[test]
fn the_answer_and_the_state_are_those_of_three_calls() {
    let ((mut one, offer), (mut three, _)) = (offered(), offered());

    let by_one = by_one(&mut one, offer.clone()).unwrap();
    let by_three = by_three_calls(&mut three, offer).unwrap();

    assert_eq!(lines(&by_one), lines(&by_three));
    assert_eq!(state(&one), state(&three));
    one.settle();
    three.settle();
    assert_eq!(events(&one), events(&three));
    let now = one.now;
    one.a.session.set_remote_description(now, by_one).unwrap();
    one.connect();
}

#[test]
fn a_refused_offer_leaves_what_three_calls_leave() {
    let without = |offer: &str, start: &str| -> String {
        offer.split_inclusive('\n').filter(|line| !line.starts_with(start)).collect()
    };
    // Offers that are refused at once, in a new connection, after a round, and while an own offer is open.
    let spoilers: [&dyn Fn(&str) -> String; 6] = [
        &|_| "v=0".to_owned(),
        &|offer| without(offer, "a=ice-pwd"),
        &|offer| without(offer, "a=fingerprint"),
        &|offer| without(offer, "a=rtcp-mux"),
        &|offer| offer.split("m=").take(2).collect::<Vec<_>>().join("m="),
        &|_| String::new(),
    ];
    for spoil in spoilers {
        for stage in ["new", "negotiated", "own offer"] {
            let ((mut one, offer), (mut three, _)) = (offered(), offered());
            for pair in [&mut one, &mut three] {
                let now = pair.now;
                match stage {
                    "negotiated" => _ = by_three_calls(pair, offer.clone()).unwrap(),
                    "own offer" => pair.b.session.set_local_description(now, None).unwrap(),
                    _ => {}
                }
            }
            let bad = SessionDescription::offer(spoil(&offer.sdp));

            let refused = by_one(&mut one, bad.clone()).unwrap_err();

            assert_eq!(Err(&refused), by_three_calls(&mut three, bad).as_ref(), "{stage}");
            assert_eq!(state(&one), state(&three), "{stage}: {refused}");
            // A good one is answered afterwards, by either.
            by_one(&mut one, offer.clone()).unwrap();
            by_three_calls(&mut three, offer).unwrap();
            assert_eq!(state(&one), state(&three), "{stage}, afterwards: {refused}");
        }
    }
}

#[test]
fn what_is_no_offer_or_comes_too_late_is_refused_and_changes_nothing() {
    let (mut pair, offer) = offered();
    let now = pair.now;
    for kind in [SdpType::Answer, SdpType::ProvisionalAnswer, SdpType::Rollback] {
        let other = SessionDescription { kind, sdp: offer.sdp.clone() };
        let refused = pair.b.session.accept_offer(now, other);
        assert_eq!(refused, Err(AcceptOfferError::NotAnOffer(kind)));
        assert_eq!(pair.b.signaling(), SignalingState::Stable);
    }

    // Between a provisional answer and the answer, W3C allows no offer.
    pair.b.session.set_remote_description(now, offer.clone()).unwrap();
    let provisional = SessionDescription::provisional_answer("");
    pair.b.session.set_local_description(now, Some(provisional)).unwrap();
    let refused = pair.b.session.accept_offer(now, offer.clone());
    let Err(AcceptOfferError::Offer(SetDescriptionError::InvalidState { state, .. })) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(state, SignalingState::HaveLocalPranswer);

    pair.b.session.close(now, CloseReason::Closed);
    let refused = pair.b.session.accept_offer(now, offer);
    assert_eq!(refused, Err(AcceptOfferError::Offer(SetDescriptionError::Closed)));
}

#[test]
fn an_offer_is_made_once_and_only_in_stable() {
    let (mut pair, _) = offered();
    let now = pair.now;
    let b = &mut pair.b.session;

    let offer = b.make_offer(now).unwrap();
    assert_eq!(b.jsep().pending_local().map(|local| local.description()), Some(offer));
    let again = b.make_offer(now);
    let state = CreateOfferError::InvalidState(SignalingState::HaveLocalOffer);
    assert_eq!(again, Err(state.into()));

    b.close(now, CloseReason::Closed);
    assert_eq!(b.make_offer(now), Err(CreateOfferError::Closed.into()));
}

#[test]
fn an_own_offer_gives_way_to_an_accepted_one() {
    let (mut pair, offer) = offered();
    let now = pair.now;
    pair.b.session.set_local_description(now, None).unwrap();
    assert_eq!(pair.b.signaling(), SignalingState::HaveLocalOffer);

    let accepted = pair.b.session.accept_offer(now, offer).unwrap();
    pair.a.session.set_remote_description(now, accepted.answer).unwrap();

    assert_eq!(pair.b.signaling(), SignalingState::Stable);
    pair.connect();
}
