//! Tests of connections at rest: how seldom they are woken, and that nothing suffers from it.

use std::time::Duration;

use super::SECOND;
use super::simulated_pair::{Pair, Peer, bytes};
use crate::*;

/// Two connections with a channel that have been silent for a while.
fn at_rest() -> (Pair, DataChannelId) {
    let mut pair = Pair::new();
    let channel = pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    pair.pass(60 * SECOND);
    (pair, channel)
}

/// Returns an API whose connections have too little time to find out that a peer is gone to put off any check.
fn restless() -> Api {
    let settings = ApiSettings { disconnected_timeout: SECOND * 9 / 5, ..ApiSettings::default() };
    Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings)
}

/// Returns how often each of them is woken in a minute.
fn wakes_in_a_minute(pair: &mut Pair) -> (usize, usize) {
    let before = (pair.a.wakes, pair.b.wakes);
    pair.pass(60 * SECOND);
    (pair.a.wakes - before.0, pair.b.wakes - before.1)
}

fn round_trips(peer: &mut Peer, now: std::time::Instant) -> u64 {
    peer.session.stats(now);
    let measured = peer.session.engine.measured().peer.as_ref().unwrap();
    assert!(now - measured.timestamp <= SECOND, "{:?} old", now - measured.timestamp);
    measured.selected_candidate_pair.as_ref().unwrap().responses_received
}

/// Each check of the one is followed by one of the other, since that is due as well: three datagrams for one timer.
#[test]
fn a_connection_at_rest_is_woken_less_than_once_a_second() {
    let (mut pair, _) = at_rest();

    let (a, b) = wakes_in_a_minute(&mut pair);

    assert!(a + b <= 100 && a.max(b) <= 60, "{a} and {b} times in a minute");
    assert!(pair.connected());
}

/// A path is proven by answers to this side's own checks (RFC 7675 §5.1), at least every 5 s.
#[test]
fn checks_go_on_at_rest() {
    let (mut pair, _) = at_rest();
    let now = pair.now;
    let before = (round_trips(&mut pair.a, now), round_trips(&mut pair.b, now));

    pair.pass(60 * SECOND);

    let now = pair.now;
    let after = (round_trips(&mut pair.a, now), round_trips(&mut pair.b, now));
    assert!(after.0 - before.0 >= 15, "{} in a minute", after.0 - before.0);
    assert!(after.1 - before.1 >= 15, "{} in a minute", after.1 - before.1);
}

/// No timer of the engine waits behind a check: SCTP repeats what is lost as soon as where checks are not put off.
#[test]
fn a_lost_message_after_a_rest_is_repeated_in_time() {
    for rest in 0..20 {
        let repeated_after = |api: Api| {
            let mut pair = Pair::with(api.clone(), api);
            let channel = pair.channel("x", DataChannelOptions::default());
            pair.negotiate();
            pair.connect();
            pair.pass(60 * SECOND + rest * SECOND / 5);
            pair.conditions = Box::new(|_| Vec::new());
            let sent = pair.now;
            pair.a.send(sent, channel, bytes(100)).unwrap();
            pair.pass(Duration::from_millis(5));
            pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);
            assert!(pair.until(10 * SECOND, |pair| !pair.b.messages().is_empty()));
            pair.now - sent
        };

        let (rested, restless) = (repeated_after(Api::default()), repeated_after(restless()));

        // The engine counts from the time that it knows, which is up to 1 s old where it does not rest.
        let in_time = restless..=restless + SECOND;
        assert!(in_time.contains(&rested), "{rested:?} instead of {restless:?}");
        assert!(rested >= SECOND, "{rested:?}: it was repeated at once");
    }
}

#[test]
fn a_peer_that_is_killed_at_rest_is_found_out_as_soon_as_ever() {
    for rest in 0..20 {
        let (mut pair, _) = at_rest();
        pair.pass(rest * SECOND / 5);
        let killed = pair.now;
        pair.conditions = Box::new(|_| Vec::new());

        let gone = |state| move |pair: &Pair| pair.a.state() == state;
        assert!(pair.until(10 * SECOND, gone(PeerConnectionState::Disconnected)));
        let told = pair.now - killed;
        assert!(told >= SECOND && told <= SECOND * 51 / 10, "{told:?}");

        assert!(pair.until(60 * SECOND, gone(PeerConnectionState::Failed)));
        assert!(pair.now - killed <= 36 * SECOND, "{:?}", pair.now - killed);
    }
}

/// Any one of three checks finds out that the peer is there.
#[test]
fn two_lost_checks_do_not_disconnect_and_are_followed_by_more() {
    let (mut pair, _) = at_rest();
    let (rare, _) = wakes_in_a_minute(&mut pair);
    pair.a.events.clear();
    let outage = pair.now + 4 * SECOND;
    pair.conditions = Box::new(|_| Vec::new());
    pair.until(4 * SECOND, |pair| {
        let sent = pair.now;
        sent >= outage || pair.a.session.states.last_received().unwrap() + 43 * SECOND / 10 <= sent
    });
    pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);

    let (often, _) = wakes_in_a_minute(&mut pair);

    assert!(pair.a.events.is_empty(), "{:?}", pair.a.events);
    assert!(often > 2 * rare, "{often} after {rare}");
    pair.pass(10 * SECOND);
    let (again, _) = wakes_in_a_minute(&mut pair);
    assert!(again < 60, "{again} long after the loss");
}

#[test]
fn a_short_timeout_leaves_no_time_to_rest() {
    let mut pair = Pair::with(restless(), Api::default());
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    pair.pass(60 * SECOND);
    pair.a.events.clear();

    let (a, _) = wakes_in_a_minute(&mut pair);

    assert!(a >= 60, "{a} times in a minute");
    assert!(pair.a.events.is_empty(), "{:?}", pair.a.events);
}
