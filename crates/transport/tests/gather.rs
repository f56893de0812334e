//! Gathering over a simulated network, in virtual time.
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

mod network;

use std::time::Duration;

use callboard_transport::gather::*;
use network::*;
use proptest::collection;
use proptest::prelude::*;
use stun_proto::types::TransportType;
use stun_proto::types::TransportType::{Tcp, Udp};

#[test]
fn candidates_of_all_kinds_are_found() {
    for (transport, url) in [(Udp, "turn:192.0.2.9"), (Tcp, "turn:192.0.2.9?transport=tcp")] {
        let mut world = World::new(vec![stun("stun:192.0.2.1"), turn(url)], |_| {})
            .with_stun("192.0.2.1:3478", seen_as("203.0.113.7:6000"))
            .with_turn(transport, "192.0.2.9:3478", "198.51.100.1");

        world.gather();
        let took = world.run_until_done();

        assert!(took < Duration::from_secs(1), "{took:?}");
        let expected = [
            ("host", HOST, HOST),
            ("srflx", "203.0.113.7:6000", HOST),
            ("relay", "198.51.100.1:49152", "10.0.0.2:50001"),
        ];
        let mut found = world.found();
        found.sort();
        let mut expected =
            expected.map(|(kind, addr, base)| (kind.into(), addr.into(), base.into()));
        expected.sort();
        assert_eq!(found, expected);
        assert!(world.errors.is_empty(), "{:?}", world.errors);
        let url_of = |kind| {
            let found = world.candidates.iter().find(|it| it.candidate.kind().to_string() == kind);
            found.unwrap().url.as_ref().map(ToString::to_string)
        };
        assert_eq!(url_of("host"), None);
        assert_eq!(url_of("srflx").unwrap(), "stun:192.0.2.1:3478");
        assert!(url_of("relay").unwrap().starts_with("turn:192.0.2.9:3478"));
    }
}

#[test]
fn without_a_nat_there_is_no_second_candidate_for_the_same_address() {
    let mut world =
        World::new(vec![stun("stun:192.0.2.1")], |_| {}).with_stun("192.0.2.1:3478", seen_as(HOST));
    world.gather();
    world.run_until_done();
    assert_eq!(world.found().len(), 1);
    assert!(world.errors.is_empty());
}

#[test]
fn a_lost_request_is_repeated() {
    let lossy = Stun { loses: 3, ..seen_as("203.0.113.7:6000") };
    let mut world =
        World::new(vec![stun("stun:192.0.2.1")], |_| {}).with_stun("192.0.2.1:3478", lossy);
    world.gather();
    let took = world.run_until_done();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(world.found().len(), 2);
}

#[test]
fn a_silent_server_is_reported_in_time_and_asked_at_growing_intervals() {
    let mut world = World::new(vec![stun("stun:192.0.2.1")], |_| {})
        .with_stun("192.0.2.1:3478", Stun::default());
    world.gather();
    let took = world.run_until_done();

    assert_eq!(took, Duration::from_secs(5) + DELAY, "the time-out, and looking the name up");
    let [error] = &world.errors[..] else { panic!("{:?}", world.errors) };
    assert_eq!((error.code, error.address), (701, Some(HOST.parse().unwrap())));
    assert_eq!(error.url.to_string(), "stun:192.0.2.1:3478");
    let asked = &world.stun[&"192.0.2.1:3478".parse().unwrap()].asked;
    assert!((4..=12).contains(&asked.len()), "{}", asked.len());
    let pauses: Vec<_> = asked.windows(2).map(|it| it[1] - it[0]).collect();
    assert!(pauses.is_sorted(), "{pauses:?}");
    // A connection that shares the mux must ask by itself.
    assert_eq!(world.told.last().unwrap().2, None);
}

#[test]
fn an_error_of_the_server_is_reported_with_its_code() {
    let stern = Stun { refuses: Some(420), ..Stun::default() };
    let mut world =
        World::new(vec![stun("stun:192.0.2.1")], |_| {}).with_stun("192.0.2.1:3478", stern);
    world.gather();
    world.run_until_done();
    let [error] = &world.errors[..] else { panic!("{:?}", world.errors) };
    assert_eq!((error.code, &*error.text), (420, "Go Away"));
}

#[test]
fn a_name_that_cannot_be_looked_up_is_reported() {
    let mut world = World::new(vec![stun("stun:nowhere.test"), turn("turn:void.test")], |_| {});
    world.names.insert("nowhere.test".to_owned(), Err("no such name".to_owned()));
    world.names.insert("void.test".to_owned(), Ok(Vec::new()));
    world.gather();
    world.run_until_done();
    let codes: Vec<_> = world.errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, [701, 701]);
    assert_eq!(world.errors[0].text, "no such name");
}

#[test]
fn wrong_credentials_are_an_error_401() {
    for (transport, piece) in [(Udp, usize::MAX), (Tcp, usize::MAX), (Tcp, 7)] {
        let url = url_of(transport);
        let server = IceServer::turn(url, USER, "byron").unwrap();
        let mut world = World::new(vec![server], |_| {}).with_turn(transport, TURN, RELAYED);
        world.piece = piece;

        world.gather();
        world.run_until_done();

        let codes: Vec<_> = world.errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, [401], "{transport} {piece} {:?}", world.errors);
        assert!(world.ways.is_empty(), "the way to the server is left open");
        world.run(Duration::from_secs(60));
        assert!(world.ways.is_empty() && world.errors.len() == 1, "nobody tries again");
    }
}

#[test]
fn with_the_policy_relay_nothing_else_is_asked_for_or_told() {
    let servers = vec![stun("stun:192.0.2.1"), turn(url_of(Udp))];
    let mut world = World::new(servers, |options| options.policy = IceTransportPolicy::Relay)
        .with_stun("192.0.2.1:3478", seen_as("203.0.113.7:6000"))
        .with_turn(Udp, TURN, RELAYED);

    world.gather();
    world.run_until_done();

    let kinds: Vec<_> = world.found().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, ["relay"]);
    assert!(world.stun.values().all(|stun| stun.asked.is_empty()));
}

#[test]
fn data_flows_both_ways_by_permission_and_then_by_channel() {
    for (transport, piece) in [(Udp, usize::MAX), (Tcp, usize::MAX), (Tcp, 7)] {
        let mut world = relaying(transport);
        world.piece = piece;
        let relayed = world.relayed();
        // Datagrams wait until the permission has come.
        for number in 0..40_u8 {
            assert!(world.send(relayed, PEER, &[number; 97]));
            world.run(Duration::from_millis(50));
            world.send_from_peer(PEER, relayed, &[number; 91]);
        }
        world.run(Duration::from_secs(1));

        let peer = PEER.parse().unwrap();
        let expected = |length| (0..40_u8).map(move |number| vec![number; length]);
        let at_peers: Vec<_> = expected(97).map(|it| (relayed, peer, it)).collect();
        assert_eq!(world.at_peers, at_peers, "{transport} {piece}");
        let received: Vec<_> = expected(91).map(|it| (peer, relayed, it)).collect();
        assert_eq!(world.received, received, "{transport} {piece}");
        let heard = &world.turn[&TURN.parse().unwrap()].heard;
        let with = |it: &Vec<u8>, of: u8| it.windows(97).any(|window| window == [of; 97]);
        let length = |of| heard.iter().rfind(|it| with(it, of)).unwrap().len();
        assert!(length(0) > 97 + 20);
        let expected = if transport == Udp { 97 + 4 } else { 97 + 4 + 3 };
        assert_eq!(length(39), expected, "a channel costs 4 bytes, and padding in a stream");
        assert!(!world.send("198.51.100.99:1".parse().unwrap(), PEER, b"not a relay of ours"));
    }
}

#[test]
fn several_datagrams_wait_for_the_permission_of_their_peer() {
    let mut world = relaying(Udp);
    let relayed = world.relayed();
    for number in 0..5 {
        world.send(relayed, PEER, &[number]);
        world.send(relayed, "203.0.113.51:1", &[number]);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.at_peers.len(), 10, "{:?}", world.at_peers);
}

#[test]
fn an_allocation_lives_as_long_as_it_is_wanted() {
    for transport in [Udp, Tcp] {
        let mut world = relaying(transport);
        let relayed = world.relayed();
        for minute in 0..30_u8 {
            world.send(relayed, PEER, &[minute]);
            world.run(Duration::from_secs(60));
            world.send_from_peer(PEER, relayed, &[minute]);
        }
        world.run(Duration::from_secs(1));

        assert_eq!(world.at_peers.len(), 30, "{transport}");
        assert_eq!(world.received.len(), 30, "{transport}");
        assert!(world.lost.is_empty() && world.errors.is_empty());
        assert_eq!(world.relayed(), relayed);
    }
}

#[test]
fn an_idle_allocation_lives_as_well() {
    let mut world = relaying(Udp);
    world.run(Duration::from_secs(30 * 60));
    assert!(world.lost.is_empty());
    assert_eq!(world.turn[&TURN.parse().unwrap()].relayed.len(), 1);
    world.send(world.relayed(), PEER, b"after all");
    world.run(Duration::from_secs(1));
    assert_eq!(world.at_peers.len(), 1);
}

#[test]
fn an_allocation_that_the_server_forgets_is_lost_and_made_anew() {
    for transport in [Udp, Tcp] {
        let mut world = relaying(transport);
        let first = world.relayed();
        world.send(first, PEER, b"before");
        world.run(Duration::from_secs(1));
        assert_eq!(world.at_peers.len(), 1);

        world.start_turn(TURN.parse().unwrap());
        // Like consent checks.
        let mut waited = 0;
        while world.lost.is_empty() {
            world.send(first, PEER, b"into the void");
            world.run(Duration::from_secs(5));
            waited += 5;
            assert!(waited <= 10 * 60, "{transport}: nobody notices");
        }
        assert_eq!(world.lost[0].addr(), first);
        world.run(Duration::from_secs(5));

        assert_eq!(world.candidates.len(), 3, "a host, a relay, and another: {:?}", world.found());
        assert_eq!(world.ways.len(), 1);
        world.send(world.relayed(), PEER, b"again");
        world.run(Duration::from_secs(1));
        assert!(world.at_peers.iter().any(|(.., what)| what == b"again"));
        println!("{transport}: noticed after {waited} s");
    }
}

#[test]
fn a_relay_whose_server_is_away_is_tried_again_with_growing_pauses() {
    for transport in [Udp, Tcp] {
        let mut world = relaying(transport);
        let address = TURN.parse().unwrap();
        world.turn.get_mut(&address).unwrap().server = None;

        world.break_way("connection reset");
        assert_eq!(world.lost.len(), 1);
        assert!(world.ways.is_empty());
        world.run(Duration::from_secs(1));
        world.run(Duration::from_secs(5 * 60));
        let tries = world.errors.len();
        assert!((4..=14).contains(&tries), "{transport}: {tries} tries in 5 minutes");
        assert!(world.ways.len() <= 1, "{transport}: {:?}", world.ways);

        world.start_turn(address);
        world.run(Duration::from_secs(45));
        assert_eq!(world.candidates.len(), 3, "{:?}", world.found());
        world.send(world.relayed(), PEER, b"again");
        world.run(Duration::from_secs(1));
        assert_eq!(world.at_peers.len(), 1);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error_701_and_nothing_is_left_open() {
    for transport in [Udp, Tcp] {
        let mut world =
            World::new(vec![turn(url_of(transport))], |_| {}).with_turn(transport, TURN, RELAYED);
        world.turn.get_mut(&TURN.parse().unwrap()).unwrap().server = None;
        world.gather();
        let took = world.run_until_done();
        assert!(took <= Duration::from_secs(11), "{took:?}");
        world.run(Duration::from_secs(60));
        let codes: Vec<_> = world.errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, [701], "{transport} {:?}", world.errors);
        assert!(world.ways.is_empty(), "{transport}: {:?}", world.ways);
    }
}

#[test]
fn each_server_is_asked_and_none_waits_for_another() {
    let both = IceServer {
        urls: vec!["stun:192.0.2.1".parse().unwrap(), url_of(Udp).parse().unwrap()],
        username: Some(USER.to_owned()),
        credential: Some(PASSWORD.to_owned()),
    };
    let servers =
        vec![both, stun("stun:192.0.2.2"), stun("stun:192.0.2.3"), stun("stun:192.0.2.4")];
    let mut world = World::new(servers, |_| {})
        .with_stun("192.0.2.1:3478", seen_as("203.0.113.7:6000"))
        .with_stun("192.0.2.2:3478", seen_as("203.0.113.7:6001"))
        // The same address again is not a new candidate.
        .with_stun("192.0.2.3:3478", seen_as("203.0.113.7:6000"))
        .with_turn(Udp, TURN, RELAYED);
    world.gather();

    world.run(Duration::from_secs(1));
    assert_eq!((world.found().len(), world.done), (4, 0), "{:?}", world.found());
    let took = world.run_until_done();
    assert!(took <= Duration::from_secs(5));
    assert_eq!(world.found().len(), 4);
    assert_eq!(world.errors.len(), 1);
    assert_eq!(world.errors[0].url.to_string(), "stun:192.0.2.4:3478");
}

#[test]
fn hosts_of_both_families_ask_the_servers_address_of_their_own() {
    let mut world = World::new(vec![stun("stun:stun.test")], |_| {})
        .with_stun("192.0.2.1:3478", seen_as("203.0.113.7:6000"))
        .with_stun("[2001:db8::1]:3478", seen_as("[2001:db8::7]:5000"));
    let addresses = ["192.0.2.1:3478", "[2001:db8::1]:3478"].map(|it| it.parse().unwrap());
    world.names.insert("stun.test".to_owned(), Ok(addresses.to_vec()));
    world.gather_on(vec![HOST.parse().unwrap(), "[2001:db8::7]:5000".parse().unwrap()]);
    world.run_until_done();
    // The second host has no NAT.
    assert_eq!(world.found().len(), 3);
    assert!(world.stun.values().all(|stun| stun.asked.len() == 1));
}

#[test]
fn gathering_again_makes_relays_anew_and_keeps_the_old_ones_for_a_while() {
    let servers = vec![stun("stun:192.0.2.1"), turn(url_of(Udp))];
    let mut world = World::new(servers, |_| {})
        .with_stun("192.0.2.1:3478", seen_as("203.0.113.7:6000"))
        .with_turn(Udp, TURN, RELAYED);
    world.gather();
    world.run_until_done();
    let old = world.relayed();
    world.candidates.clear();

    world.gather();
    world.run_until_done();

    let mut kinds: Vec<_> = world.found().into_iter().map(|(kind, ..)| kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["host", "relay", "srflx"]);
    assert_eq!(world.done, 2);
    let new = world.relayed();
    assert!(new != old && world.lost.is_empty());
    for relayed in [old, new] {
        assert!(world.send(relayed, PEER, b"either way"));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.at_peers.len(), 2);

    world.run(Duration::from_secs(30));
    assert_eq!(world.ways.len(), 1);
    assert!(!world.send(old, PEER, b"too late") && world.send(new, PEER, b"in time"));
    let relayed: Vec<_> = world.turn[&TURN.parse().unwrap()].relayed.iter().collect();
    assert_eq!(relayed, [&new], "the old one is given back");
}

#[test]
fn closing_gives_allocations_back() {
    for transport in [Udp, Tcp] {
        let mut world = relaying(transport);
        world.gatherer.close(world.now);
        // In this world the connection stays open until all is sent, as with the real driver.
        while let Some(output) = world.gatherer.poll_output() {
            if let GathererOutput::TransmitToRelay { relay, contents } = output {
                world.transmit_to_relay(relay, &contents);
            }
        }
        world.run(Duration::from_secs(1));
        let turn = &world.turn[&TURN.parse().unwrap()];
        assert!(turn.relayed.is_empty(), "{transport}: the server keeps the allocation");
        assert!(world.gatherer.poll_timeout(world.now).is_none(), "{transport}");
    }
}

/// Returns bytes that are noise, or are like a message in the parts that matter.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let shaped = (0_usize..6, collection::vec(any::<u8>(), 0..60)).prop_map(|(kind, body)| {
        let first =
            [[0x01, 0x01], [0x01, 0x11], [0x01, 0x03], [0x01, 0x13], [0x00, 0x17], [0x40, 0x00]];
        let mut bytes = first[kind].to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        if kind < 5 {
            bytes.extend([0x21, 0x12, 0xa4, 0x42]);
            bytes.extend([7; 12]);
        }
        bytes.extend(body);
        bytes
    });
    prop_oneof![shaped, collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_that_anyone_sends_is_a_panic(
        over_tcp: bool,
        early: bool,
        steps in collection::vec((0..3_u8, noise(), 0..2_000_u64), 1..12),
    ) {
        let transport = if over_tcp { Tcp } else { Udp };
        let servers = vec![stun("stun:192.0.2.1"), turn(url_of(transport))];
        let mut world = World::new(servers, |_| {})
            .with_stun("192.0.2.1:3478", Stun::default())
            .with_turn(transport, TURN, RELAYED);
        world.gather();
        world.run(Duration::from_millis(if early { 25 } else { 500 }));
        for (from, bytes, pause) in steps {
            match from {
                0 => _ = world.gatherer.handle_datagram(world.now, TURN.parse().unwrap(), &bytes),
                1 => {
                    let stun = "192.0.2.1:3478".parse().unwrap();
                    world.gatherer.handle_datagram(world.now, stun, &bytes);
                }
                _ => {
                    let relay = world.ways.keys().next().copied().unwrap_or(99);
                    world.gatherer.handle_relay(world.now, RelayId(relay), &bytes);
                }
            }
            world.settle();
            world.run(Duration::from_millis(pause));
        }
    }
}

fn relaying(transport: TransportType) -> World {
    let servers = vec![turn(url_of(transport))];
    let mut world = World::new(servers, |_| {}).with_turn(transport, TURN, RELAYED);
    world.gather();
    world.run_until_done();
    world
}

fn url_of(transport: TransportType) -> &'static str {
    if transport == Udp { "turn:192.0.2.9" } else { "turn:192.0.2.9?transport=tcp" }
}

fn seen_as(address: &str) -> Stun {
    Stun { sees: Some(address.parse().unwrap()), ..Stun::default() }
}

const TURN: &str = "192.0.2.9:3478";
const RELAYED: &str = "198.51.100.1";
const PEER: &str = "203.0.113.50:7000";

#[test]
fn a_turn_server_that_is_not_to_be_had_at_one_address_is_tried_at_the_next() {
    let now = std::time::Instant::now();
    let servers = vec![IceServer::turn("turn:turn.example.org", "user", "password").unwrap()];
    let mut gatherer = Gatherer::new(GathererOptions { servers, ..GathererOptions::default() });
    let outputs =
        |gatherer: &mut Gatherer| std::iter::from_fn(|| gatherer.poll_output()).collect::<Vec<_>>();
    let opened = |outputs: &[GathererOutput]| {
        outputs.iter().find_map(|output| match output {
            GathererOutput::Open { relay, server, .. } => Some((*relay, server.to_string())),
            _ => None,
        })
    };
    gatherer.gather(now, vec![]);
    outputs(&mut gatherer);
    let addresses =
        ["[2001:db8::1]:3478", "192.0.2.9:3478"].map(|address| address.parse().unwrap());
    gatherer.handle_resolved(now, 0, Ok(addresses.to_vec()));
    let (first, server) = opened(&outputs(&mut gatherer)).unwrap();
    assert_eq!(server, "[2001:db8::1]:3478");

    gatherer.handle_lost(now, first, "network is unreachable".to_owned());

    let next = outputs(&mut gatherer);
    assert!(
        !next.iter().any(|output| matches!(
            output,
            GathererOutput::CandidateError(_) | GathererOutput::Done
        )),
        "{next:?}"
    );
    let (second, server) = opened(&next).unwrap();
    assert_eq!(server, "192.0.2.9:3478");
    gatherer.handle_lost(now, second, "connection refused".to_owned());
    let end = outputs(&mut gatherer);
    assert!(
        end.iter().any(
            |output| matches!(output, GathererOutput::CandidateError(error) if error.code == 701)
        ),
        "{end:?}"
    );
    assert!(matches!(end.last(), Some(GathererOutput::Done)), "{end:?}");
}
