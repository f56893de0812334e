//! Tests of ICE and the DTLS handshake that waits for it: restarts, silences, candidates and roles.

use std::net::SocketAddr;

use str0m::change::SdpPendingOffer;
use str0m::channel::ChannelId;
use str0m::net::{Protocol, TcpType};
use str0m::{Candidate, IceConnectionState, RtcConfig, RtcError};

use crate::text::{value, values, without};
use crate::wire::{Wire, config, millis, secs};

#[test]
fn an_ice_restart_by_either_side_reconnects_with_and_without_the_old_candidates() {
    for offered_by_left in [true, false] {
        for keep_candidates in [true, false] {
            let (mut wire, chat) = Wire::with_data();
            let Wire { left, right, .. } = &mut wire;
            let (offerer, answerer) = if offered_by_left { (left, right) } else { (right, left) };
            let (old_offerer, old_answerer) = (offerer.ufrag(), answerer.ufrag());

            let (offer, pending, creds) = offerer.offer(|api| api.ice_restart(keep_candidates));
            assert_eq!(value(&offer, "a=ice-ufrag:"), creds.ufrag);
            assert_eq!(values(&offer, "a=candidate:").is_empty(), !keep_candidates);
            let answer = answerer.accept_offer(&offer).unwrap();
            assert_ne!(answerer.ufrag(), old_answerer);
            assert_eq!(offerer.ufrag(), old_offerer);
            offerer.accept_answer(pending, &answer).unwrap();
            assert_eq!(offerer.ufrag(), creds.ufrag);
            if !keep_candidates {
                let candidate = offerer.candidate.clone();
                offerer.rtc.add_local_candidate(candidate.clone());
                answerer.rtc.add_remote_candidate(candidate);
            }

            let reconnected = wire.run_until(secs(10), |wire| {
                let last =
                    |states: Vec<(_, IceConnectionState)>| states.last().unwrap().1.is_connected();
                last(wire.left.ice_states()) && last(wire.right.ice_states())
            });
            assert!(reconnected, "left offers: {offered_by_left}, keeps: {keep_candidates}");
            wire.run_for(secs(60));
            assert!(wire.left.disconnected_at().is_none());
            assert!(wire.right.disconnected_at().is_none());
            assert!(wire.carries(chat, b"still there"));
        }
    }
}

#[test]
fn an_ice_restart_before_the_first_exchange_is_an_offer_with_no_m_lines() {
    let mut wire = Wire::new();

    let (offer, ..) = wire.left.offer(|api| api.ice_restart(true));

    assert!(values(&offer, "m=").is_empty());
}

#[test]
fn peers_that_never_reach_each_other_are_disconnected_within_20_seconds() {
    let mut wire = unreachable();

    wire.run_for(secs(30));

    for peer in [&wire.left, &wire.right] {
        let seconds = peer.disconnected_at().unwrap().as_secs();
        assert!((15..=20).contains(&seconds), "{seconds} s");
    }
}

/// The reason to stay passive. Five flights go unanswered, the first for 1 s and each for twice as long as
/// the one before it, and every time within a quarter of that.
#[test]
fn a_dtls_client_dies_after_31_seconds_give_or_take_8_without_ice_and_a_server_lives_on() {
    let mut wire = unreachable();

    wire.run_for(secs(150));

    // The left peer offered, so the right one has taken the passive role.
    let (at, error) = wire.left.errors.first().unwrap();
    assert!(matches!(error, RtcError::Dtls(_)), "{error:?}");
    assert!((millis(23_250)..=millis(38_760)).contains(at), "{at:?}");
    assert!(!wire.left.rtc.is_alive());
    assert!(wire.right.rtc.is_alive());
    assert!(wire.right.errors.is_empty());
}

/// The clock starts with the answer, not with the offer.
#[test]
fn an_offer_may_stay_unanswered_for_minutes() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(|api| api.add_channel("chat".into()));

    wire.run_for(secs(180));

    let answer = wire.right.accept_offer(&offer).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();
    wire.expect_connected();
}

/// The reason why this crate watches for a silence of 5 s itself.
#[test]
fn a_cut_wire_is_told_as_disconnected_after_some_24_seconds() {
    let (mut wire, _) = Wire::with_data();
    let cut_at = wire.elapsed();

    wire.cut();
    wire.run_for(secs(40));

    for peer in [&wire.left, &wire.right] {
        let seconds = (peer.disconnected_at().unwrap() - cut_at).as_secs();
        assert!((20..=25).contains(&seconds), "{seconds} s");
    }
}

#[test]
fn no_tuning_tells_a_cut_wire_before_15_seconds() {
    let impatient = || -> RtcConfig {
        let mut config = config();
        config.set_initial_stun_rto(millis(100));
        config.set_max_stun_rto(millis(200));
        config.set_max_stun_retransmits(2);
        config
    };
    let mut wire = Wire::with_configs(impatient(), impatient());
    wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire.expect_connected();
    let cut_at = wire.elapsed();

    wire.cut();
    wire.run_for(secs(40));

    for peer in [&wire.left, &wire.right] {
        let silence = peer.disconnected_at().unwrap() - cut_at;
        assert!((millis(13_500)..=millis(17_000)).contains(&silence), "{silence:?}");
    }
}

#[test]
fn a_wire_that_returns_before_disconnected_goes_on_as_if_nothing_had_been() {
    let (mut wire, chat) = Wire::with_data();

    wire.cut();
    wire.run_for(secs(12));
    wire.mend();
    wire.run_for(secs(60));

    assert!(wire.left.disconnected_at().is_none());
    assert!(wire.carries(chat, b"still there"));
}

#[test]
fn disconnected_does_not_heal_when_the_wire_returns() {
    let (mut wire, _) = disconnected();

    wire.mend();
    wire.run_for(secs(120));

    for peer in [&wire.left, &wire.right] {
        assert_eq!(peer.ice_states().last().unwrap().1, IceConnectionState::Disconnected);
        assert!(peer.rtc.is_alive());
    }
}

/// Data still flows where ICE has given up.
#[test]
fn data_flows_again_after_disconnected_although_ice_stays_down() {
    let (mut wire, chat) = disconnected();

    wire.mend();

    assert!(wire.carries(chat, b"hello"));
    assert_eq!(wire.left.ice_states().last().unwrap().1, IceConnectionState::Disconnected);
}

#[test]
fn an_ice_restart_heals_disconnected() {
    let (mut wire, chat) = disconnected();
    wire.mend();

    wire.negotiate_left(|api| api.ice_restart(true));
    wire.run_for(secs(5));

    assert!(wire.left.ice_states().last().unwrap().1.is_connected());
    assert!(wire.right.ice_states().last().unwrap().1.is_connected());
    assert!(wire.carries(chat, b"still there"));
}

/// Often enough for the 30 s of RFC 7675 §5.1.
#[test]
fn the_nominated_pair_is_checked_again_every_few_seconds() {
    let (mut wire, _) = Wire::with_data();
    let before = wire.left.sent.len();

    wire.run_for(secs(30));

    // A binding request (RFC 8489 §5) starts with 00 01.
    let requests =
        wire.left.sent[before..].iter().filter(|sent| sent.contents.starts_with(&[0, 1])).count();
    assert!((8..=20).contains(&requests), "{requests} in 30 s");
}

#[test]
fn a_lite_peer_connects_to_a_full_one() {
    let mut wire = Wire::with_configs(config().set_ice_lite(true), config());
    let (offer, pending, _) = wire.left.offer(|api| api.add_channel("chat".into()));
    assert!(offer.contains("a=ice-lite\r\n"));
    let answer = wire.right.accept_offer(&offer).unwrap();
    wire.left.accept_answer(pending, &answer).unwrap();

    wire.expect_connected();
    let chat = wire.left.channel("chat");
    assert!(wire.carries(chat, b"hello"));
}

#[test]
fn two_lite_peers_refuse_each_other() {
    let mut wire = Wire::with_configs(config().set_ice_lite(true), config().set_ice_lite(true));
    let (offer, ..) = wire.left.offer(|api| api.add_channel("chat".into()));

    assert!(matches!(wire.right.accept_offer(&offer), Err(RtcError::RemoteSdp(_))));
}

#[test]
fn candidates_that_browsers_send_parse_and_others_do_not() {
    for refused in [
        "",
        "a=candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host",
        "1 1 udp 2122260223 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 2122260223 6d2b9f0e-3d3b-4f0a-8a0e-1f2d3c4b5a69.local 5000 typ host",
    ] {
        assert!(Candidate::from_sdp_string(refused).is_err(), "{refused}");
    }
    for taken in [
        "candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host generation 0 ufrag abcd network-id 1 network-cost 10",
        "candidate:1 1 udp 2122260223 2001:db8::1 5000 typ host",
        "candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
        "candidate:1 1 udp 1686052607 203.0.113.7 5000 typ srflx raddr 192.0.2.1 rport 5000",
        "candidate:1 1 udp 41885439 203.0.113.9 5000 typ relay raddr 203.0.113.7 rport 5000",
        "candidate:1 2 udp 2122260222 192.0.2.1 5001 typ host",
    ] {
        assert!(Candidate::from_sdp_string(taken).is_ok(), "{taken}");
    }
}

#[test]
fn a_local_candidate_is_taken_once() {
    let mut wire = Wire::new();
    let again = wire.left.candidate.clone();

    assert!(wire.left.rtc.add_local_candidate(again).is_none());
}

#[test]
fn a_lite_peer_takes_host_candidates_only() {
    let mut wire = Wire::with_configs(config().set_ice_lite(true), config());
    let reflexive =
        Candidate::server_reflexive(address("203.0.113.7:5000"), address("192.0.2.1:1000"), "udp")
            .unwrap();
    let host = Candidate::host(address("192.0.2.1:1001"), "udp").unwrap();

    assert!(wire.left.rtc.add_local_candidate(reflexive).is_none());
    assert!(wire.left.rtc.add_local_candidate(host).is_some());
}

/// Its documentation says that it is an error.
#[test]
fn a_loopback_address_makes_a_host_candidate() {
    assert!(Candidate::host(address("127.0.0.1:5000"), "udp").is_ok());
    assert!(Candidate::host(address("0.0.0.0:5000"), "udp").is_err());
}

/// Therefore this crate writes a candidate's JSON.
#[test]
fn the_json_of_a_candidate_says_nothing_of_mid_and_ufrag() {
    let wire = Wire::new();

    let json = serde_json::to_value(&wire.left.candidate).unwrap();

    assert_eq!(json["sdpMid"], serde_json::Value::Null);
    assert_eq!(json["usernameFragment"], serde_json::Value::Null);
    assert!(json["candidate"].as_str().unwrap().starts_with("candidate:"));
}

#[test]
fn the_answerer_is_passive_unless_it_is_offered_passive() {
    for (offered, answered) in
        [("actpass", "passive"), ("active", "passive"), ("passive", "active")]
    {
        let mut wire = Wire::new();
        let (offer, pending, _) = wire.left.offer(|api| api.add_channel("chat".into()));
        assert_eq!(value(&offer, "a=setup:"), "actpass");

        let rewritten = offer.replace("a=setup:actpass", &format!("a=setup:{offered}"));
        let answer = wire.right.accept_offer(&rewritten).unwrap();

        assert_eq!(value(&answer, "a=setup:"), answered);
        wire.left.accept_answer(pending, &answer).unwrap();
        wire.expect_connected();
        let chat = wire.left.channel("chat");
        assert!(wire.carries(chat, b"hello"));
    }
}

/// The side that offered first keeps its role, whichever side offers next.
#[test]
fn a_later_offer_of_the_passive_side_is_actpass_and_answered_with_the_role_that_is_held() {
    let (mut wire, _) = Wire::with_data();

    let (offer, _pending, _) = wire.right.offer(|api| api.ice_restart(true));
    let answer = wire.left.accept_offer(&offer).unwrap();

    assert_eq!(value(&offer, "a=setup:"), "actpass");
    assert_eq!(value(&answer, "a=setup:"), "active");
}

#[test]
fn a_candidate_added_while_a_restart_is_pending_carries_the_old_ufrag() {
    let (mut wire, _) = Wire::with_data();
    let old = wire.left.ufrag();
    let (_offer, _pending, creds) = wire.left.offer(|api| api.ice_restart(true));

    let late = Candidate::host(address("192.0.2.9:1009"), "udp").unwrap();
    let added = wire.left.rtc.add_local_candidate(late).unwrap();

    assert_eq!(added.ufrag(), Some(old.as_str()));
    assert_ne!(creds.ufrag, old);
}

#[test]
fn dropping_a_pending_restart_leaves_the_connection_up() {
    let (mut wire, chat) = Wire::with_data();
    let before = wire.left.ufrag();
    let (_offer, pending, _): (String, SdpPendingOffer, _) =
        wire.left.offer(|api| api.ice_restart(false));

    drop(pending);
    wire.run_for(secs(60));

    assert_eq!(wire.left.ufrag(), before);
    assert!(wire.left.disconnected_at().is_none());
    assert!(wire.carries(chat, b"still there"));
}

/// Therefore this crate keeps candidates of a future ufrag.
#[test]
fn a_remote_candidate_with_a_ufrag_to_come_is_silently_lost() {
    let mut wire = Wire::new();
    let (offer, pending, _) = wire.left.offer(|api| api.add_channel("chat".into()));
    let offer = without(&offer, "a=candidate");
    let answer = without(&wire.right.accept_offer(&offer).unwrap(), "a=candidate");
    wire.left.accept_answer(pending, &answer).unwrap();

    let mut early = wire.right.candidate.clone();
    early.set_ufrag("tocome");
    wire.left.rtc.add_remote_candidate(early);
    wire.run_for(secs(5));
    assert!(wire.left.sent.is_empty());

    let mut current = wire.right.candidate.clone();
    current.set_ufrag(&wire.right.ufrag());
    wire.left.rtc.add_remote_candidate(current);
    wire.expect_connected();
}

#[test]
fn what_a_relay_candidate_sends_has_the_relayed_address_as_its_source() {
    let mut wire = Wire::new();
    let relayed = address("203.0.113.9:7000");
    wire.left
        .rtc
        .add_local_candidate(Candidate::relayed(relayed, address("192.0.2.1:1000"), "udp").unwrap())
        .unwrap();

    wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire.run_for(secs(2));

    assert!(
        wire.left.sent.iter().any(|sent| sent.source == relayed && sent.proto == Protocol::Udp)
    );
}

#[test]
fn a_peer_with_nothing_but_a_relay_connects() {
    let mut wire = Wire::new();
    let relayed = address("203.0.113.9:7000");
    let host = wire.left.candidate.clone();
    wire.left.rtc.direct_api().invalidate_candidate(&host);
    wire.left
        .rtc
        .add_local_candidate(Candidate::relayed(relayed, address("192.0.2.1:1000"), "udp").unwrap())
        .unwrap();

    wire.negotiate_left(|api| api.add_channel("chat".into()));

    wire.expect_connected();
    assert!(wire.left.sent.iter().all(|sent| sent.source == relayed));
}

#[test]
fn tcp_candidates_are_paired_and_their_datagrams_marked() {
    let mut wire = Wire::new();
    let tcp = |peer: &str, kind| {
        Candidate::builder().tcp().host(address(peer)).tcptype(kind).build().unwrap()
    };
    wire.left.rtc.add_local_candidate(tcp("192.0.2.1:3000", TcpType::Passive)).unwrap();
    wire.right.rtc.add_local_candidate(tcp("198.51.100.2:9", TcpType::Active)).unwrap();

    wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire.run_for(secs(2));

    assert!(wire.right.sent.iter().any(|sent| sent.proto == Protocol::Tcp));
}

/// The credentials that the actor gives to its handshake are those of the descriptions.
#[test]
fn ice_credentials_set_in_the_config_are_those_of_the_offer() {
    let creds =
        str0m::ice::IceCreds { ufrag: "abcdefgh".into(), pass: "0123456789abcdef01234567".into() };
    let mut wire = Wire::with_configs(config().set_local_ice_credentials(creds.clone()), config());

    let (offer, ..) = wire.left.offer(|api| api.add_channel("chat".into()));

    assert_eq!(value(&offer, "a=ice-ufrag:"), creds.ufrag);
    assert_eq!(value(&offer, "a=ice-pwd:"), creds.pass);
    assert_eq!(wire.left.rtc.direct_api().local_ice_credentials(), creds);
}

/// It is the configured version before the handshake, so it means nothing until both are connected.
#[test]
fn the_dtls_version_is_1_2_unless_configured_otherwise_and_told_before_the_handshake() {
    let mut wire = Wire::new();
    let version = |wire: &mut Wire| {
        wire.left.rtc.direct_api().dtls_protocol_version().map(|told| format!("{told:?}"))
    };
    let before = version(&mut wire);

    wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire.expect_connected();

    assert_eq!(before, version(&mut wire));
    assert_eq!(before.as_deref(), Some("DTLS1_2"));
}

/// Returns two peers that exchanged descriptions over a wire that carries nothing.
fn unreachable() -> Wire {
    let mut wire = Wire::new();
    wire.cut();
    wire.negotiate_left(|api| api.add_channel("chat".into()));
    wire
}

/// Returns two peers that were connected until the wire was cut long enough.
fn disconnected() -> (Wire, ChannelId) {
    let (mut wire, chat) = Wire::with_data();
    wire.cut();
    wire.run_for(secs(40));
    assert!(wire.left.disconnected_at().is_some());
    assert!(wire.right.disconnected_at().is_some());
    (wire, chat)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
