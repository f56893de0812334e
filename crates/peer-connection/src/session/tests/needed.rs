//! Tests of `negotiationneeded` (W3C §4.7.3): once for each need, and never without end.

use super::SECOND;
use super::simulated_pair::Pair;
use crate::*;

fn track(id: &str) -> LocalTrack {
    LocalTrack::new(RtpCodecCapability::new("audio/opus"), id, "stream")
}

/// Makes a change, settles, and returns how often A has asked for a negotiation since.
fn asked(pair: &mut Pair, what: impl FnOnce(&mut Pair)) -> usize {
    pair.settle();
    let before = pair.a.needs();
    what(pair);
    pair.settle();
    pair.a.needs() - before
}

#[test]
fn each_change_asks_once() {
    let mut pair = Pair::new();
    let now = pair.now;
    assert_eq!(
        asked(&mut pair, |pair| {
            pair.channel("x", DataChannelOptions::default());
        }),
        1
    );
    assert_eq!(
        asked(&mut pair, |pair| {
            pair.channel("y", DataChannelOptions::default());
        }),
        0,
        "it was asked"
    );
    assert_eq!(asked(&mut pair, Pair::negotiate), 0);
    assert_eq!(
        asked(&mut pair, |pair| {
            pair.channel("z", DataChannelOptions::default());
        }),
        0,
        "needs none"
    );

    let mut sender = None;
    assert_eq!(asked(&mut pair, |pair| sender = pair.a.session.add_track(now, track("t")).ok()), 1);
    let sender = sender.unwrap();
    assert_eq!(asked(&mut pair, Pair::negotiate), 0);
    let other = Some(track("t"));
    assert_eq!(
        asked(&mut pair, |pair| pair.a.session.replace_track(now, sender, other).unwrap()),
        0
    );
    assert_eq!(
        asked(&mut pair, |pair| pair
            .a
            .session
            .change(now, |all| all.remove_track(sender))
            .unwrap()),
        1
    );
    assert_eq!(asked(&mut pair, Pair::negotiate), 0);
    assert_eq!(asked(&mut pair, |pair| pair.a.session.restart_ice(now)), 1);
    assert_eq!(asked(&mut pair, Pair::negotiate), 0, "the next offer restarts");
    let transceiver = pair.a.session.transceivers()[0].id;
    assert_eq!(
        asked(&mut pair, |pair| pair.a.session.change(now, |all| all.stop(transceiver)).unwrap()),
        1
    );
    assert_eq!(asked(&mut pair, Pair::negotiate), 0);
}

#[test]
fn what_is_needed_during_a_round_is_asked_for_after_it() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    pair.a.session.set_local_description(now, None).unwrap();
    assert_eq!(
        asked(&mut pair, |pair| {
            pair.a.session.add_track(now, track("t")).unwrap();
        }),
        0
    );

    let offer = pair.a.session.jsep().pending_local().unwrap().description();
    pair.b.session.set_remote_description(now, offer).unwrap();
    pair.b.session.set_local_description(now, None).unwrap();
    let answer = pair.b.session.jsep().current_local().unwrap().description();

    assert_eq!(
        asked(&mut pair, |pair| pair.a.session.set_remote_description(now, answer).unwrap()),
        1
    );
}

#[test]
fn a_taken_back_offer_is_asked_for_again() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    let now = pair.now;
    pair.a.session.set_local_description(now, None).unwrap();

    let rollback = Some(SessionDescription::rollback());
    assert_eq!(
        asked(&mut pair, |pair| pair.a.session.set_local_description(now, rollback).unwrap()),
        1
    );
}

/// A transceiver would send but has no track, and the peer does not want it.
#[test]
fn a_wish_that_the_peer_does_not_share_is_no_storm() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a
        .session
        .add_transceiver(now, TrackKind::Audio, Direction::SendRecv, None, Vec::new())
        .unwrap();
    pair.settle();
    let mut rounds = 0;
    let mut heard = 0;
    while pair.a.needs() > heard {
        heard = pair.a.needs();
        rounds += 1;
        assert!(rounds < 4, "a storm");
        pair.negotiate();
        pair.pass(SECOND / 10);
    }
    assert_eq!(rounds, 1);
    assert_eq!(pair.a.session.transceivers()[0].current_direction, Some(Direction::SendOnly));
    assert_eq!(pair.b.needs(), 0);
}

#[test]
fn a_peer_on_hold_asks_once_for_more() {
    let mut pair = Pair::new();
    let now = pair.now;
    pair.a.session.add_track(now, track("t")).unwrap();
    pair.b.session.add_track(now, track("u")).unwrap();
    pair.negotiate();
    pair.connect();
    let id = pair.b.session.transceivers()[0].id;
    // B wants nothing: A still wants to send, and offers it once.
    pair.b
        .session
        .change(now, |all| all.usable(id).map(|one| one.direction = Direction::Inactive))
        .unwrap();
    let before = pair.a.needs();
    pair.negotiate_from_b();
    pair.pass(SECOND);
    let mut rounds = 0;
    let mut heard = before;
    while pair.a.needs() > heard {
        heard = pair.a.needs();
        pair.negotiate();
        pair.pass(SECOND / 10);
        rounds += 1;
        assert!(rounds < 3, "a storm");
    }
}
