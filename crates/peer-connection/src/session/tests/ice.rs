//! Tests of paths: found, lost, found again; under loss.

use std::time::Duration;

use super::SECOND;
use super::simulated_pair::{Pair, bytes};
use crate::error::{AddIceCandidateError, CreateOfferError};
use crate::*;

fn with_channel() -> (Pair, DataChannelId) {
    let mut pair = Pair::new();
    let channel = pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND / 2);
    (pair, channel)
}

fn talks(pair: &mut Pair, channel: DataChannelId) -> bool {
    let before = pair.b.messages().len();
    let now = pair.now;
    pair.a.send(now, channel, bytes(100)).unwrap();
    pair.until(10 * SECOND, |pair| pair.b.messages().len() > before)
}

#[test]
fn either_side_restarts_ice_and_data_goes_on() {
    for by_b in [false, true] {
        let (mut pair, channel) = with_channel();
        let ufrag = |pair: &Pair| {
            let local = pair.a.session.jsep().current_local().unwrap();
            sdp::Sdp::parse(&local.description().sdp).media()[0]
                .attribute("ice-ufrag")
                .unwrap()
                .to_owned()
        };
        let before = ufrag(&pair);

        pair.restart(by_b);
        pair.pass(3 * SECOND);

        assert_ne!(ufrag(&pair), before);
        assert_eq!((pair.a.gathered, pair.b.gathered), (2, 2));
        assert!(pair.connected());
        assert!(talks(&mut pair, channel));
    }
}

/// A check and its answer for ICE, and three round trips for a handshake with a cookie. One of them is held back by
/// half.
#[test]
fn a_good_path_is_used_without_waiting() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    let began = pair.now;
    pair.negotiate();
    pair.connect();
    let took = pair.now - began;
    assert!(took <= Duration::from_millis(130), "{took:?} where a round trip takes 20 ms");
}

#[test]
fn there_is_nothing_to_restart_before_the_first_round() {
    let mut pair = Pair::new();
    let error = pair.a.session.create_offer(true).unwrap_err();
    assert_eq!(error, CreateOfferError::NoIceAgent);
    assert_eq!(error.to_string(), "ICEAgent does not exist");
}

#[test]
fn a_cut_wire_disconnects_fails_in_time_and_is_mended_by_a_restart() {
    let (mut pair, channel) = with_channel();
    pair.conditions = Box::new(|_| Vec::new());
    let cut = pair.now;
    assert!(pair.until(8 * SECOND, |pair| pair.a.state() == PeerConnectionState::Disconnected));
    assert!(pair.now - cut >= 4 * SECOND);
    assert!(pair.until(60 * SECOND, |pair| pair.a.state() == PeerConnectionState::Failed));
    assert!(pair.until(60 * SECOND, |pair| pair.b.state() == PeerConnectionState::Failed));
    assert!(!pair.a.ended, "failed is not the end");

    pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);
    pair.restart(false);

    assert!(pair.until(20 * SECOND, Pair::connected), "{} {}", pair.a.state(), pair.b.state());
    assert!(talks(&mut pair, channel));
}

#[test]
fn a_short_outage_is_told_and_heals() {
    let (mut pair, channel) = with_channel();
    pair.conditions = Box::new(|_| Vec::new());
    assert!(pair.until(8 * SECOND, |pair| pair.a.state() == PeerConnectionState::Disconnected));
    pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);
    assert!(pair.until(8 * SECOND, Pair::connected));
    assert!(talks(&mut pair, channel));
}

#[test]
fn a_peer_that_is_not_there_fails_in_bounded_time() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    pair.conditions = Box::new(|_| Vec::new());
    let began = pair.now;
    pair.negotiate();
    assert!(pair.until(60 * SECOND, |pair| pair.a.state() == PeerConnectionState::Failed));
    assert!(pair.now - began <= 31 * SECOND, "{:?}", pair.now - began);
}

/// 30 % of all datagrams are lost, some come late, some twice.
#[test]
fn under_loss_they_connect_and_channels_stay_reliable() {
    for (loss, seed) in [(10, 1_u64), (20, 2), (30, 3), (30, 4)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = Pair::new();
        let channel = pair.channel("x", DataChannelOptions::default());
        pair.conditions = Box::new(move |_| {
            if random.u32(..100) < loss {
                return Vec::new();
            }
            let delay = Duration::from_millis(10 + random.u64(..20));
            if random.u32(..100) < 5 { vec![delay, delay * 2] } else { vec![delay] }
        });
        pair.negotiate();
        assert!(
            pair.until(30 * SECOND, Pair::connected),
            "{loss} %: {} {}",
            pair.a.state(),
            pair.b.state()
        );
        // SCTP sends its INIT and COOKIE-ECHO again after 1, 2, 4 … s (RFC 9260 §5.1): one of two is answered.
        assert!(pair.until(300 * SECOND, |pair| {
            pair.a.events.iter().any(|event| matches!(event, ConnectionEvent::DataChannelOpened(_)))
        }));
        let count = 200_u32;
        for at in 0..count {
            let now = pair.now;
            pair.a.text(now, channel, &at.to_string()).unwrap();
        }
        assert!(
            pair.until(300 * SECOND, |pair| pair.b.messages().len() == count as usize),
            "{loss} %: {}",
            pair.b.messages().len()
        );
        let in_order = pair
            .b
            .messages()
            .iter()
            .enumerate()
            .all(|(at, message)| *message == DataChannelMessage::Text(at.to_string()));
        assert!(in_order, "{loss} %");

        pair.restart(false);
        pair.pass(20 * SECOND);
        assert!(pair.until(40 * SECOND, Pair::connected), "{loss} %: after the restart");
    }
}

#[test]
fn candidates_are_read_kept_ignored_or_refused() {
    use AddIceCandidateError as Error;
    let mut pair = Pair::new();
    pair.trickle = false;
    let now = pair.now;
    let candidate = |text: &str| {
        Some(IceCandidate {
            candidate: text.to_owned(),
            sdp_m_line_index: Some(0),
            ..IceCandidate::default()
        })
    };
    let host = "candidate:1 1 udp 2130706431 10.0.0.1 1111 typ host";

    let early = pair.b.session.add_ice_candidate(now, candidate(host));
    assert_eq!(early, Err(Error::NoRemoteDescription));
    assert_eq!(early.unwrap_err().to_string(), "remote description is not set");

    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    let mut add = |candidate| pair.b.session.add_ice_candidate(now, candidate);
    assert_eq!(
        add(Some(IceCandidate { candidate: host.to_owned(), ..IceCandidate::default() })),
        Err(Error::NoSection)
    );
    let elsewhere = IceCandidate {
        sdp_mid: Some("nowhere".to_owned()),
        candidate: host.to_owned(),
        ..IceCandidate::default()
    };
    assert_eq!(add(Some(elsewhere)), Err(Error::UnknownSection));
    assert!(matches!(add(candidate("candidate:nonsense")), Err(Error::Syntax(_))));
    assert!(matches!(
        add(candidate("candidate:1 1 udp 1 169.254.169.254 80 typ host")),
        Err(Error::Refused(_))
    ));
    for ignored in [
        "candidate:1 1 udp 1 4f3a.local 5 typ host",
        "candidate:1 1 tcp 1 10.0.0.9 9 typ host tcptype active",
        "candidate:1 2 udp 1 10.0.0.9 9 typ host",
    ] {
        assert_eq!(add(candidate(ignored)), Ok(()), "{ignored}");
    }
    let unnamed = IceCandidate { sdp_mid: Some(String::new()), ..candidate(host).unwrap() };
    assert_eq!(add(Some(unnamed)), Ok(()), "as webrtc-rs names it");
    assert_eq!(add(None), Ok(()), "no more");
    assert_eq!(pair.b.session.counters().candidates_ignored, 3);
    // With `a=` before it and a line end after it, as some peers write it.
    assert_eq!(pair.b.session.add_ice_candidate(now, candidate(&format!("a={host}\r\n"))), Ok(()));
    let mut add = |candidate| pair.b.session.add_ice_candidate(now, candidate);
    let flood = (0..200).map(|port| {
        add(candidate(&format!("candidate:1 1 udp 1 10.0.0.9 {} typ host", 5_000 + port)))
    });
    assert!(flood.collect::<Vec<_>>().contains(&Err(Error::TooMany)));
}

#[test]
fn candidates_that_come_before_their_description_are_kept() {
    let mut pair = Pair::new();
    pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    // A restart whose candidates arrive before its offer.
    pair.trickle = false;
    let now = pair.now;
    let offer = pair.a.session.create_offer(true).unwrap();
    pair.a.session.set_local_description(now, Some(offer.clone())).unwrap();
    pair.settle();
    while let Some(candidate) = pair.a.candidates.pop_front() {
        pair.b.session.add_ice_candidate(now, candidate).unwrap();
    }
    pair.b.session.set_remote_description(now, offer).unwrap();
    let answer = pair.b.session.create_answer(now).unwrap();
    pair.b.session.set_local_description(now, Some(answer.clone())).unwrap();
    pair.a.session.set_remote_description(now, answer).unwrap();

    pair.pass(5 * SECOND);
    assert!(pair.connected());
    assert!(pair.b.session.remote_candidates().iter().any(|one| one.address == pair.a.address));
}

fn connection_states(peer: &super::simulated_pair::Peer) -> Vec<PeerConnectionState> {
    let state = |event: &ConnectionEvent| match event {
        ConnectionEvent::ConnectionStateChange(state) => Some(*state),
        _ => None,
    };
    peer.events.iter().filter_map(state).collect()
}

#[test]
fn a_peer_that_was_killed_is_told_as_disconnected_failed_and_closed_with_the_reason() {
    let (mut pair, _) = with_channel();
    pair.a.events.clear();
    let killed = pair.now;
    pair.conditions = Box::new(|_| Vec::new());

    assert!(pair.until(120 * SECOND, |pair| pair.a.ended));

    use PeerConnectionState::*;
    assert_eq!(connection_states(&pair.a), [Disconnected, Failed, Closed]);
    let reasons: Vec<String> = pair
        .a
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Failed(reason) => Some(reason.to_string()),
            ConnectionEvent::Closed(reason) => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].starts_with("nothing has come from the peer for "), "{reasons:?}");
    assert_eq!(reasons[1], format!("failed: {}", reasons[0]));
    let took = pair.now - killed;
    assert!(took >= 40 * SECOND && took <= 66 * SECOND, "{took:?}");
}

#[test]
fn what_has_failed_is_closed_only_if_the_settings_say_so() {
    let settings = ApiSettings { failed_close_timeout: None, ..ApiSettings::default() };
    let api = Api::with_settings(MediaEngine::default(), InterceptorRegistry::default(), settings);
    let mut pair = Pair::with(api.clone(), api);
    let channel = pair.channel("x", DataChannelOptions::default());
    pair.negotiate();
    pair.connect();
    pair.pass(SECOND / 2);
    pair.conditions = Box::new(|_| Vec::new());
    pair.pass(120 * SECOND);
    assert_eq!(pair.a.state(), PeerConnectionState::Failed);

    pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);
    pair.a.events.clear();
    pair.restart(false);
    assert!(pair.until(20 * SECOND, Pair::connected), "{} {}", pair.a.state(), pair.b.state());
    assert!(talks(&mut pair, channel));
}

#[test]
fn a_restart_revives_what_is_disconnected() {
    let (mut pair, channel) = with_channel();
    pair.conditions = Box::new(|_| Vec::new());
    assert!(pair.until(9 * SECOND, |pair| pair.a.state() == PeerConnectionState::Disconnected));
    pair.pass(5 * SECOND);
    assert_eq!(pair.a.state(), PeerConnectionState::Disconnected);
    pair.conditions = Box::new(|_| vec![Duration::from_millis(10)]);
    pair.restart(false);

    assert!(pair.until(20 * SECOND, Pair::connected), "{} {}", pair.a.state(), pair.b.state());
    pair.pass(60 * SECOND);
    assert!(pair.connected());
    assert!(talks(&mut pair, channel));
}

/// Large messages and small ones, reliable and not, over a wire that loses, delays and repeats datagrams.
#[test]
fn the_guard_of_sctp_refuses_no_honest_peer_under_loss() {
    for (loss, seed) in [(5, 1_u64), (15, 2), (30, 3)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = Pair::new();
        let reliable = pair.channel("reliable", DataChannelOptions::default());
        let unordered = DataChannelOptions { ordered: false, ..DataChannelOptions::default() };
        let unordered = pair.channel("unordered", unordered);
        let loose =
            DataChannelOptions { ordered: true, max_retransmits: Some(0), ..Default::default() };
        let loose = pair.channel("loose", loose);
        pair.negotiate();
        pair.connect();
        pair.pass(SECOND);
        pair.conditions = Box::new(move |_| {
            if random.u32(..100) < loss {
                return Vec::new();
            }
            let delay = Duration::from_millis(5 + random.u64(..20));
            if random.u32(..100) < 5 { vec![delay, delay * 2] } else { vec![delay] }
        });
        for round in 0..20 {
            let now = pair.now;
            for channel in [reliable, unordered, loose] {
                pair.a.send(now, channel, bytes(if round % 2 == 0 { 40_000 } else { 20 })).unwrap();
            }
            pair.pass(SECOND / 5);
        }
        let came = |pair: &Pair, wanted: &str| {
            let named = |event: &ConnectionEvent| match event {
                ConnectionEvent::DataChannelAdded(info) if info.label == wanted => Some(info.id),
                _ => None,
            };
            let id = pair.b.events.iter().find_map(named);
            pair.b
                .events
                .iter()
                .filter(|event| matches!(event, ConnectionEvent::DataChannelMessage { channel, .. } if Some(*channel) == id))
                .count()
        };
        let all = |pair: &Pair| came(pair, "reliable") == 20 && came(pair, "unordered") == 20;
        assert!(pair.until(1_200 * SECOND, all), "{loss} %: {}", came(&pair, "reliable"));
        assert!(pair.connected());
        let dropped = pair.b.session.counters().sctp_packets_dropped;
        assert_eq!(dropped, 0, "{loss} %");
    }
}
