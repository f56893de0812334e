//! Tests: which description may be set in which state, and its effects (W3C §4.4.1.5, RFC 8829 §3.2).

use super::simulated_pair::Pair;
use crate::error::SetDescriptionError;
use crate::jsep::Local;
use crate::*;

use SdpType::*;
use SignalingState::*;

/// Returns a pair whose A is in this state.
fn pair_in(state: SignalingState) -> Pair {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.channel("a", DataChannelOptions::default());
    pair.b.session.create_data_channel(now, "b".to_owned(), DataChannelOptions::default()).unwrap();
    let (a, b) = (&mut pair.a.session, &mut pair.b.session);
    match state {
        Stable | Unspecified => {}
        HaveLocalOffer => a.set_local_description(now, None).unwrap(),
        HaveRemoteOffer => a.set_remote_description(now, b.create_offer(false).unwrap()).unwrap(),
        HaveLocalPranswer => {
            a.set_remote_description(now, b.create_offer(false).unwrap()).unwrap();
            let answer = a.create_answer(now).unwrap();
            a.set_local_description(now, Some(SessionDescription::provisional_answer(answer.sdp)))
                .unwrap();
        }
        HaveRemotePranswer => {
            let offer = a.create_offer(false).unwrap();
            a.set_local_description(now, Some(offer.clone())).unwrap();
            b.set_remote_description(now, offer).unwrap();
            let answer = b.create_answer(now).unwrap();
            a.set_remote_description(now, SessionDescription::provisional_answer(answer.sdp))
                .unwrap();
        }
        Closed => a.close(now, CloseReason::Closed),
    }
    assert_eq!(pair.a.signaling(), state);
    pair
}

/// Sets a description of this kind that is right except for the state.
fn set(pair: &mut Pair, local: bool, kind: SdpType) -> Result<(), SetDescriptionError> {
    let now = pair.now;
    let (a, b) = (&mut pair.a.session, &mut pair.b.session);
    if local {
        let sdp = match kind {
            Offer => a.create_offer(false).map(|offer| offer.sdp).ok(),
            Answer | ProvisionalAnswer => a.create_answer(now).map(|answer| answer.sdp).ok(),
            Rollback => None,
        };
        // Descriptions that cannot be created need a text as well.
        let sdp =
            sdp.unwrap_or_else(|| if kind == Rollback { String::new() } else { "v=0".to_owned() });
        return a.set_local_description(now, Some(SessionDescription { kind, sdp }));
    }
    let sdp = match kind {
        Rollback => String::new(),
        Offer => Pair::new().a.offer_of_data(),
        Answer | ProvisionalAnswer => match a.jsep().pending_local() {
            Some(offer) if b.jsep().remote().is_none() => {
                let offer = SessionDescription::offer(offer.description().sdp);
                b.set_remote_description(now, offer).unwrap();
                b.create_answer(now).unwrap().sdp
            }
            _ => match b.create_answer(now) {
                Ok(answer) => answer.sdp,
                Err(_) => "v=0".to_owned(),
            },
        },
    };
    a.set_remote_description(now, SessionDescription { kind, sdp })
}

#[test]
fn every_description_in_every_state() {
    let states =
        [Stable, HaveLocalOffer, HaveRemoteOffer, HaveLocalPranswer, HaveRemotePranswer, Closed];
    for state in states {
        for local in [true, false] {
            for kind in [Offer, ProvisionalAnswer, Answer, Rollback] {
                let expected = match (state, local, kind) {
                    (Stable | HaveLocalOffer, true, Offer) => Some(HaveLocalOffer),
                    (HaveRemoteOffer | HaveLocalPranswer, true, ProvisionalAnswer) => {
                        Some(HaveLocalPranswer)
                    }
                    (HaveRemoteOffer | HaveLocalPranswer, true, Answer) => Some(Stable),
                    // In have-local-offer by an implicit rollback.
                    (Stable | HaveRemoteOffer | HaveLocalOffer, false, Offer) => {
                        Some(HaveRemoteOffer)
                    }
                    (HaveLocalOffer | HaveRemotePranswer, false, ProvisionalAnswer) => {
                        Some(HaveRemotePranswer)
                    }
                    (HaveLocalOffer | HaveRemotePranswer, false, Answer) => Some(Stable),
                    (HaveLocalOffer | HaveRemoteOffer, _, Rollback) => Some(Stable),
                    _ => None,
                };
                let mut pair = pair_in(state);

                let result = set(&mut pair, local, kind);

                let what = format!("{} {kind} in {state}", if local { "local" } else { "remote" });
                match expected {
                    Some(next) => {
                        assert_eq!(result, Ok(()), "{what}");
                        assert_eq!(pair.a.signaling(), next, "{what}");
                    }
                    None => {
                        let error = result.expect_err(&what);
                        let refused = match state {
                            Closed => error == SetDescriptionError::Closed,
                            _ => matches!(error, SetDescriptionError::InvalidState { .. }),
                        };
                        assert!(refused, "{what}: {error}");
                        assert_eq!(pair.a.signaling(), state, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_getters_tell_what_is_pending_and_what_is_in_force() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    let offer = pair.a.session.create_offer(false).unwrap();
    assert!(pair.a.session.jsep().local().is_none(), "created, not set");

    pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
    assert_eq!(
        pair.a.session.jsep().pending_local().map(Local::description).as_ref(),
        Some(&offer)
    );
    assert_eq!(pair.a.session.jsep().local().map(Local::description).as_ref(), Some(&offer));
    assert!(pair.a.session.jsep().current_local().is_none());

    pair.b.session.set_remote_description(now, offer.clone()).unwrap();
    assert_eq!(pair.b.session.jsep().pending_remote(), Some(&offer));
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    assert_eq!(
        pair.b.session.jsep().current_local().map(|local| local.description().kind),
        Some(Answer)
    );
    assert_eq!(pair.b.session.jsep().current_remote(), Some(&offer));
    assert_eq!(pair.b.session.jsep().pending_remote(), None);

    pair.a.session.set_remote_description(now, answer.clone()).unwrap();
    assert_eq!(
        pair.a.session.jsep().current_local().map(Local::description).as_ref(),
        Some(&offer)
    );
    assert_eq!(pair.a.session.jsep().current_remote(), Some(&answer));
    assert!(pair.a.session.jsep().pending_local().is_none());
}

#[test]
fn a_local_description_is_the_one_that_was_created() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    let offer = pair.a.session.create_offer(false).unwrap();

    let munged = SessionDescription::offer(offer.sdp.replace("a=setup:actpass", "a=setup:active"));
    let error = pair.a.session.set_local_description(now, Some(munged)).unwrap_err();
    let SetDescriptionError::InvalidModification { expected, found, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((expected.as_str(), found.as_str()), ("a=setup:actpass", "a=setup:active"));

    // Candidates and line ends do not matter.
    let text = offer.sdp.replace("\r\n", "\n") + "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\n";
    pair.a.session.set_local_description(now, Some(SessionDescription::offer(text))).unwrap();
}

#[test]
fn an_empty_exchange_is_one() {
    let mut pair = Pair::new();
    pair.negotiate();

    assert_eq!(pair.a.signaling(), Stable);
    assert_eq!(pair.a.state(), PeerConnectionState::New);
    pair.channel("later", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
}

#[test]
fn a_provisional_answer_is_followed_by_the_answer() {
    let mut pair = pair_in(HaveRemotePranswer);
    let now = pair.now;
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, Some(answer.clone())).unwrap();
    pair.a.session.set_remote_description(now, answer).unwrap();
    pair.connect();

    let mut pair = pair_in(HaveLocalPranswer);
    let now = pair.now;
    let offer = pair.a.session.jsep().pending_remote().cloned().unwrap();
    pair.b.session.set_local_description(now, Some(offer)).unwrap();
    pair.a.session.set_local_description(now, None).unwrap();
    let answer = pair.a.session.jsep().current_local().unwrap().description();
    pair.b.session.set_remote_description(now, answer).unwrap();
    pair.connect();
}
