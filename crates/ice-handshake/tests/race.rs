//! Tests of the ClientHello race and similar attacks: forged datagrams in the peer's name that come
//! before the peer's own.
//!
//! `cargo test -p callboard-ice-handshake --test race -- --nocapture` prints the table of the README.
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

mod stock;
mod wire;

use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use stock::Stock;
use wire::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defender {
    Stock,
    Ours,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Forged {
    /// The hello of advisory ES2023-01: well-formed, with only a cipher suite that no implementation accepts.
    UnacceptableHello,
    /// A hello like that of any client, with another random.
    OtherHello,
    /// A server's answer to another client.
    ServerHello,
    /// A request for another hello.
    HelloVerifyRequest,
    /// A certificate of the forger, with the message numbers that the peer's will have.
    Certificate,
}

/// Runs a handshake of the defender in this role, against a stock peer, with `times` forged datagrams before it.
fn race(
    defender: Defender,
    role: Role,
    version: Option<Version>,
    forged: Forged,
    times: u16,
) -> Outcome {
    let ours = || {
        let dtls = Dtls::generate().unwrap().any_certificate();
        match version {
            Some(version) => dtls.version(version),
            None => dtls,
        }
    };
    let make = |role| match defender {
        Defender::Ours => ours().start(role),
        Defender::Stock => Stock::new(role, version),
    };
    let (client, server) = match role {
        Role::Client => (make(Role::Client), Stock::new(Role::Server, version)),
        Role::Server => (Stock::new(Role::Client, version), make(Role::Server)),
    };
    let mut pair = Pair::of(client, server);
    let packets: Vec<Bytes> = (0..times).flat_map(|time| forge(forged, version, time)).collect();
    // The forged datagrams are there when the peer's first datagram arrives, and come again before every later one.
    let mut pair = pair_ready_with(&mut pair, role, packets);
    let took = pair.run();
    let connected =
        matches!((&pair.client.outcome, &pair.server.outcome), (Some(Ok(_)), Some(Ok(_))));
    Outcome { connected, took }
}

struct Outcome {
    connected: bool,
    took: Duration,
}

fn pair_ready_with(pair: &mut Pair, target: Role, forged: Vec<Bytes>) -> Pair {
    let taken = std::mem::replace(pair, Pair::of(Box::new(Plain), Box::new(Plain)));
    let mut pair = taken.ready();
    let now = pair.now;
    let inbox = match target {
        Role::Client => &mut pair.client.inbox,
        Role::Server => &mut pair.server.inbox,
    };
    for packet in forged.into_iter().rev() {
        inbox.push_front((now, packet));
    }
    pair
}

fn forge(forged: Forged, version: Option<Version>, time: u16) -> Vec<Bytes> {
    let other = |role| {
        let dtls = Dtls::generate().unwrap().any_certificate().cookie(false);
        match version {
            Some(version) => dtls.version(version).start(role),
            None => dtls.start(role),
        }
    };
    let packets = |step| match step {
        Step::Packets(packets) => packets,
        step => panic!("no packets: {step:?}"),
    };
    let now = Instant::now();
    match forged {
        Forged::OtherHello => packets(other(Role::Client).connection_ready(now)),
        Forged::ServerHello => {
            let hello = packets(other(Role::Client).connection_ready(now));
            let mut flight = packets(other(Role::Server).recv_from_peer(now, &hello[0]));
            flight.truncate(1);
            flight
        }
        Forged::Certificate => {
            let certificate = Certificate::generate().unwrap();
            let der = certificate.certificate();
            let length = |length: usize| (length as u32).to_be_bytes()[1..].to_vec();
            let body = [length(der.len() + 3), length(der.len()), der.to_vec()].concat();
            let of = |sequence: u8| {
                let mut packet =
                    vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 40 + 2 * time as u8 + sequence];
                packet.extend(((body.len() + 12) as u16).to_be_bytes());
                packet.push(11);
                packet.extend(length(body.len()));
                packet.extend([0, sequence, 0, 0, 0]);
                packet.extend(length(body.len()));
                packet.extend(&body);
                Bytes::from(packet)
            };
            vec![of(1), of(2)]
        }
        Forged::UnacceptableHello => vec![advisory_hello(time).into()],
        Forged::HelloVerifyRequest => {
            let mut packet = vec![
                22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, time as u8, 0, 35, 3, 0, 0, 23, 0, 0, 0, 0, 0,
                0, 0, 23,
            ];
            packet.extend([0xfe, 0xff, 20]);
            packet.extend([time as u8 ^ 0xa5; 20]);
            vec![packet.into()]
        }
    }
}

/// Returns the advisory's hello, of 137 bytes: a ClientHello with TLS_NULL_WITH_NULL_NULL as its only cipher suite.
fn advisory_hello(time: u16) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([0x5a ^ time as u8; 32]);
    body.extend([0, 0]);
    body.extend([0, 2, 0, 0]);
    body.extend([1, 0]);
    let extensions = 137 - 25 - body.len() - 2;
    body.extend((extensions as u16).to_be_bytes());
    // Padding (RFC 7685).
    body.extend([0, 21]);
    body.extend((extensions as u16 - 4).to_be_bytes());
    body.resize(137 - 25, 0);
    let length = (body.len() as u32).to_be_bytes();
    let mut packet = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0];
    packet.extend(time.to_be_bytes());
    packet.extend(((body.len() + 12) as u16).to_be_bytes());
    packet.push(1);
    packet.extend(&length[1..]);
    packet.extend([0, 0, 0, 0, 0]);
    packet.extend(&length[1..]);
    packet.extend(body);
    assert_eq!(packet.len(), 137);
    packet
}

fn word(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::Dtls12) => "1.2",
        Some(Version::Dtls13) => "1.3",
        None => "auto",
    }
}

#[test]
fn t2_the_handshake_is_with_the_peer_even_if_forgeries_come_first() {
    use Defender::*;
    use Forged::*;
    use Role::*;
    let columns = [(Stock, Server), (Stock, Client), (Ours, Server), (Ours, Client)];
    println!("| forged, 1 and 5 times | DTLS | stock passive | stock active | passive | active |");
    println!("|---|---|---|---|---|---|");
    let mut failed = Vec::new();
    for forged in [UnacceptableHello, OtherHello, ServerHello, HelloVerifyRequest, Certificate] {
        for version in VERSIONS {
            let mut cells = Vec::new();
            for (defender, role) in columns {
                let outcomes = [1, 5].map(|times| race(defender, role, version, forged, times));
                cells.push(match outcomes.iter().filter(|outcome| outcome.connected).count() {
                    2 => format!("{} ms", outcomes[1].took.as_millis()),
                    1 => "opens once of two".to_owned(),
                    _ => "dead".to_owned(),
                });
                for (times, outcome) in [1, 5].into_iter().zip(&outcomes) {
                    if defender == Ours
                        && !(outcome.connected && outcome.took < Duration::from_secs(1))
                    {
                        failed.push(format!(
                            "{forged:?} {times} {} {role:?}: {:?}",
                            word(version),
                            outcome.took
                        ));
                    }
                }
            }
            println!("| {forged:?} | {} | {} |", word(version), cells.join(" | "));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn t2b_both_sides_ours_and_forged_datagrams_before_each_real_one() {
    use Forged::*;
    for version in VERSIONS {
        for target in [Role::Client, Role::Server] {
            for forged in
                [UnacceptableHello, OtherHello, ServerHello, HelloVerifyRequest, Certificate]
            {
                let (client, server) = acquainted(version);
                let mut pair = Pair::new(&client, &server).ready();
                let began = pair.now;
                let mut time = 0;
                while pair.client.outcome.is_none() || pair.server.outcome.is_none() {
                    if time < 5 {
                        let now = pair.now;
                        let inbox = match target {
                            Role::Client => &mut pair.client.inbox,
                            Role::Server => &mut pair.server.inbox,
                        };
                        forge(forged, version, time)
                            .into_iter()
                            .rev()
                            .for_each(|packet| inbox.push_front((now, packet)));
                        time += 1;
                    }
                    assert!(pair.step(), "{version:?} {target:?} {forged:?}: nothing more happens");
                    assert!(
                        pair.now < began + Duration::from_secs(10),
                        "{version:?} {target:?} {forged:?}"
                    );
                }
                let took = pair.now - began;
                assert!(
                    took < Duration::from_secs(5),
                    "{version:?} {target:?} {forged:?}: {took:?}"
                );
                pair.assert_connected();
            }
        }
    }
}

#[test]
fn t3_alerts_and_junk_in_the_peers_name_do_not_end_a_handshake() {
    let junk: [&[u8]; 8] = [
        // A fatal alert: handshake_failure, internal_error.
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40],
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 80],
        // A warning: close_notify.
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0],
        // Truncated records: one without a whole header, one with a length beyond the datagram's end.
        &[22, 0xfe, 0xfd, 0, 0],
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 1, 2, 3],
        // Encrypted records of an epoch that has not begun.
        &[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[
            0b0010_1110,
            0,
            1,
            0,
            20,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            11,
            12,
            13,
            14,
            15,
            16,
            17,
            18,
            19,
            20,
        ],
    ];
    for version in VERSIONS {
        for junk in junk {
            let (client, server) = acquainted(version);
            let mut pair = Pair::new(&client, &server).ready();
            let began = pair.now;
            while pair.client.outcome.is_none() || pair.server.outcome.is_none() {
                for side in [&mut pair.client, &mut pair.server] {
                    // One junk datagram before each real one.
                    let just_heard_it = side.seen.last().is_some_and(|seen| seen == junk);
                    if !just_heard_it
                        && side.inbox.front().is_some_and(|(_, packet)| packet != junk)
                    {
                        side.inbox.push_front((pair.now, Bytes::copy_from_slice(junk)));
                    }
                }
                assert!(pair.step(), "{version:?} {junk:?}: nothing more happens");
                assert!(pair.now < began + Duration::from_secs(5), "{version:?} {junk:?}");
            }
            // The datagrams still under way are junk.
            pair.client.inbox.clear();
            pair.server.inbox.clear();
            pair.assert_connected();
        }
    }
}
