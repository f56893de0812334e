//! Forged datagrams by the thousand, no two alike (T2c): a handshake of ours against a stock peer, and somebody who sends
//! in the peer's name without reading its mail. Simulated, by seed, in virtual time.
//!
//! `FORGERY_SEEDS=50 cargo test -p callboard-ice-handshake --test forgeries -- --nocapture` prints the table that stands
//! in the README; without the variable, two seeds a cell.
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

mod forgery;
mod stock;
mod wire;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use forgery::{Forged, Forger};
use stock::Stock;
use wire::*;

/// What happens to one set-up.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Ours.
    role: Role,
    version: Option<Version>,
    /// One way.
    latency: Duration,
    forged: Forged,
    flood: Flood,
    /// A stock server asks for a cookie.
    peer_cookie: bool,
    /// Each of the peer's records travels in a datagram of its own.
    split: bool,
    /// Of 100 datagrams between the two, so many are lost.
    loss: u32,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    /// A thousand a second from 50 ms before the handshake on, for as long as it takes.
    Continuous,
    /// The same for a second.
    OneSecond,
    /// So many within one round trip.
    Burst(u32),
}

struct Outcome {
    /// How long it took in virtual time, if both sides connected.
    took: Option<Duration>,
    forged: u32,
    /// Processor time that forged datagrams took, in all.
    cost: Duration,
    /// Datagrams sent by our side.
    sent: u32,
}

struct Bed {
    now: Instant,
    began: Instant,
    client: Side,
    server: Side,
    queue: BinaryHeap<Reverse<Flying>>,
    order: u64,
    case: Case,
    random: fastrand::Rng,
    outcome: Outcome,
}

/// A datagram on its way: when it arrives, its place among those of one time, whether to the server, whether forged.
type Flying = (Instant, u64, bool, bool, Bytes);

fn run(case: Case) -> Outcome {
    let (ours, theirs) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
    let dtls = Dtls::new(ours).fingerprints([theirs.fingerprint()]);
    let dtls = case.version.into_iter().fold(dtls, Dtls::version);
    let (client, server) = match case.role {
        Role::Client => (
            dtls.start(Role::Client),
            Stock::with(Role::Server, case.version, &theirs, case.peer_cookie),
        ),
        Role::Server => {
            (Stock::with(Role::Client, case.version, &theirs, false), dtls.start(Role::Server))
        }
    };
    let now = Instant::now();
    let mut bed = Bed {
        now,
        began: now + Duration::from_millis(50),
        client: Side::new(client),
        server: Side::new(server),
        queue: BinaryHeap::new(),
        order: 0,
        case,
        random: fastrand::Rng::with_seed(case.seed),
        outcome: Outcome { took: None, forged: 0, cost: Duration::ZERO, sent: 0 },
    };
    let mut other = Stock::new(Role::Client, case.version);
    let Step::Packets(hello) = other.connection_ready(now) else { panic!("no hello") };
    let mut forger = Forger::new(case.seed, case.role, hello[0].to_vec(), theirs.certificate());
    let start = bed.began;
    let mut at = match case.flood {
        Flood::Burst(_) => start,
        _ => now + Duration::from_micros(bed.random.u64(0..1_000)),
    };
    let (mut sent, mut begun) = (0, false);
    // Stock stacks repeat what is lost after 1, 2 and 4 s.
    let patience = match case.flood {
        Flood::OneSecond => Duration::from_secs(1 + 5),
        _ if case.loss > 0 => 4 * PATIENCE,
        _ => PATIENCE,
    };
    let (mut turns, mut since) = (0, now);
    while bed.now < start + patience {
        // No side may ask for a time that has passed, again and again.
        turns = if bed.now == since { turns + 1 } else { 0 };
        since = bed.now;
        let dues = (bed.client.due(), bed.server.due());
        assert!(turns < 10_000, "{case:?} turns in circles at {since:?}: {dues:?}");
        let flood = match case.flood {
            Flood::Continuous => true,
            Flood::OneSecond => at < start + Duration::from_secs(1),
            Flood::Burst(count) => sent < count,
        };
        let forged_at = flood.then_some(at);
        let next = bed.next().into_iter().chain(forged_at).chain((!begun).then_some(start)).min();
        let Some(next) = next else { break };
        bed.now = bed.now.max(next);
        if !begun && start <= bed.now {
            begun = true;
            bed.begin();
        } else if forged_at.is_some_and(|at| at <= bed.now) {
            let datagram = forger.forge(case.forged);
            let server = case.role == Role::Server;
            bed.deliver(server, true, datagram);
            sent += 1;
            at += match case.flood {
                Flood::Burst(count) => 2 * case.latency / count,
                _ => Duration::from_micros(bed.random.u64(500..1_500)),
            };
        } else {
            bed.step();
        }
        if let (Some(client), Some(server)) = (&bed.client.outcome, &bed.server.outcome) {
            bed.outcome.took = (client.is_ok() && server.is_ok()).then(|| bed.now - start);
            break;
        }
    }
    bed.outcome
}

impl Bed {
    fn begin(&mut self) {
        for server in [true, false] {
            let round_trip = 2 * self.case.latency;
            let now = self.now;
            let side = self.side(server);
            let handshake = side.handshake.as_mut().unwrap();
            handshake.set_round_trip_time(round_trip);
            let step = handshake.connection_ready(now);
            let packets = side.take(step);
            self.send(server, packets);
        }
    }

    fn side(&mut self, server: bool) -> &mut Side {
        if server { &mut self.server } else { &mut self.client }
    }

    fn next(&self) -> Option<Instant> {
        let queued = self.queue.peek().map(|Reverse((at, ..))| *at);
        queued.into_iter().chain(self.client.due()).chain(self.server.due()).min()
    }

    fn step(&mut self) {
        if self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Reverse((_, _, to_server, forged, packet)) = self.queue.pop().unwrap();
            return self.deliver(to_server, forged, packet);
        }
        for server in [true, false] {
            let now = self.now;
            let side = self.side(server);
            if side.due().is_some_and(|due| due <= now) {
                let packets = side.handle_timeout(now);
                self.send(server, packets);
            }
        }
    }

    fn deliver(&mut self, to_server: bool, forged: bool, packet: Bytes) {
        let now = self.now;
        if !forged && now < self.began {
            // The peer is not there yet.
            return;
        }
        let began = Instant::now();
        let packets = self.side(to_server).hear(now, packet);
        if forged {
            self.outcome.forged += 1;
            self.outcome.cost += began.elapsed();
        }
        self.send(to_server, packets);
    }

    fn send(&mut self, from_server: bool, packets: Vec<Bytes>) {
        let ours = (self.case.role == Role::Server) == from_server;
        self.outcome.sent += if ours { packets.len() as u32 } else { 0 };
        let cut = matches!(self.case.forged, Forged::HelloPiece | Forged::HelloHead);
        let split = self.case.split && !ours;
        let packets = packets
            .into_iter()
            .flat_map(|packet| if split { in_records(&packet) } else { vec![packet] })
            .flat_map(|packet| {
                let half = (packet.len().max(26) - 25).div_ceil(2);
                in_pieces(packet, cut.then_some(half))
            });
        let mut at = self.now + self.case.latency;
        for packet in packets {
            if self.random.u32(0..100) < self.case.loss {
                continue;
            }
            self.order += 1;
            self.queue.push(Reverse((at, self.order, !from_server, false, packet)));
            at += BETWEEN;
        }
    }
}

/// The kinds of `FORGERY_KINDS`, or all.
fn kinds(all: &'static [Forged]) -> impl Iterator<Item = Forged> {
    let only = std::env::var("FORGERY_KINDS").ok();
    let wanted = move |kind: &&Forged| {
        only.as_ref().is_none_or(|only| only.split(',').any(|one| one == format!("{kind:?}")))
    };
    all.iter().filter(wanted).copied()
}

fn seeds() -> u64 {
    std::env::var("FORGERY_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2)
}

/// Who sends what, how.
#[derive(Clone, Copy)]
struct Attack {
    role: Role,
    flood: Flood,
    split: bool,
    loss: u32,
    latencies: &'static [Duration],
    /// None for all.
    kinds: Option<&'static [Forged]>,
}

impl Attack {
    /// Runs all kinds in all versions; prints a row for each kind, and returns the number of runs and what did not connect.
    fn table(self) -> (usize, Vec<String>) {
        let Self { role, flood, split, loss, latencies, kinds: only } = self;
        let (all, cookies): (&'static [Forged], &[bool]) = match role {
            Role::Server => (&Forged::TO_SERVERS, &[false]),
            // A stock server repeats its request rarely, the rarer the longer it takes: with loss in it that is its own fault.
            Role::Client if loss > 0 => (&Forged::TO_CLIENTS, &[false]),
            Role::Client => (&Forged::TO_CLIENTS, &[false, true]),
        };
        println!("we are {role:?}, {flood:?}, split: {split}, {loss} % lost");
        let (mut runs, mut failed) = (0, Vec::new());
        for forged in kinds(only.unwrap_or(all)) {
            let (mut cells, mut cost, mut count, mut sent) = (Vec::new(), Duration::ZERO, 0, 0);
            for version in VERSIONS {
                for &latency in latencies {
                    for &peer_cookie in cookies {
                        let (mut connected, mut longest) = (0, Duration::ZERO);
                        for seed in 0..seeds() {
                            let case = Case {
                                role,
                                version,
                                latency,
                                forged,
                                flood,
                                peer_cookie,
                                split,
                                loss,
                                seed,
                            };
                            let outcome = run(case);
                            runs += 1;
                            cost += outcome.cost;
                            count += outcome.forged;
                            sent += outcome.sent;
                            match outcome.took {
                                Some(took) => {
                                    connected += 1;
                                    longest = longest.max(took);
                                }
                                None => failed.push(format!("{case:?}")),
                            }
                        }
                        assert!(connected > 0, "{forged:?}, {version:?}, {latency:?}: none");
                        cells.push(format!("{connected}/{} {}", seeds(), longest.as_millis()));
                    }
                }
            }
            let each = cost.as_micros() / u128::from(count.max(1));
            println!("| {forged:?} | {} | {each} µs | {count} in, {sent} out |", cells.join(" | "));
        }
        (runs, failed)
    }
}

/// Makes all attacks; of a hundred set-ups ninety-nine must connect, and some of each kind.
fn assert_nobody_is_kept_away(attacks: &[Attack]) {
    let (runs, failed): (Vec<usize>, Vec<Vec<String>>) =
        attacks.iter().map(|attack| attack.table()).unzip();
    let (runs, failed) = (runs.iter().sum::<usize>(), failed.concat());
    println!("{} of {runs} failed: {failed:#?}", failed.len());
    assert!(failed.len() * 100 <= runs, "{} of {runs} failed: {failed:#?}", failed.len());
}

/// A thousand a second of each kind: as long as it takes, the same with the peer's records in a datagram each, for a second.
fn assert_a_thousand_a_second_change_nothing(role: Role) {
    let attack =
        |flood, split| Attack { role, flood, split, loss: 0, latencies: &LATENCIES, kinds: None };
    assert_nobody_is_kept_away(&[
        attack(Flood::Continuous, false),
        attack(Flood::Continuous, true),
        attack(Flood::OneSecond, false),
    ]);
}

#[test]
fn t2c_a_thousand_different_forgeries_a_second_do_not_keep_a_server_from_its_client() {
    assert_a_thousand_a_second_change_nothing(Role::Server);
}

#[test]
fn t2c_a_thousand_different_forgeries_a_second_do_not_keep_a_client_from_its_server() {
    assert_a_thousand_a_second_change_nothing(Role::Client);
}

#[test]
fn t2c_on_a_path_that_loses_one_datagram_in_ten_neither() {
    let attack = |role, kinds| Attack {
        role,
        flood: Flood::Continuous,
        split: false,
        loss: 10,
        latencies: &LATENCIES[1..],
        kinds: Some(kinds),
    };
    assert_nobody_is_kept_away(&[
        attack(Role::Server, &[Forged::Hello, Forged::ClientFlight, Forged::Mixed]),
        attack(
            Role::Client,
            &[
                Forged::HelloVerifyRequest,
                Forged::ServerFlight12,
                Forged::ServerFlight13,
                Forged::Mixed,
            ],
        ),
    ]);
}

#[test]
fn t2c_bursts_within_a_round_trip_change_nothing() {
    for burst in [1, 5, 8, 16, 64] {
        let attack = |role| Attack {
            role,
            flood: Flood::Burst(burst),
            split: burst == 64,
            loss: 0,
            latencies: &LATENCIES[1..],
            kinds: None,
        };
        assert_nobody_is_kept_away(&[attack(Role::Server), attack(Role::Client)]);
    }
}

/// One forged hello in the name of a stock client, which comes before the client's own or right behind it. Returns what
/// version the two speak then; none if they do not connect.
fn with_a_forged_hello(
    ours: Option<Version>,
    client: Option<Version>,
    forged: Version,
    behind: bool,
) -> Option<Version> {
    let server = version_of(ours, Dtls::generate().unwrap().any_certificate());
    let client = Stock::new(Role::Client, client);
    let mut pair = Pair::of(client, server.start(Role::Server)).ready();
    let mut forger = Stock::new(Role::Client, Some(forged));
    let Step::Packets(hello) = forger.connection_ready(pair.now) else { panic!("no hello") };
    if behind {
        pair.server.inbox.push_back((pair.now + DELAY, hello[0].clone()));
    } else {
        pair.server.inbox.push_front((pair.now, hello[0].clone()));
    }
    pair.run();
    match (&pair.client.outcome, &pair.server.outcome) {
        (Some(Ok(_)), Some(Ok(_))) => Some(pair.server.data().version),
        _ => None,
    }
}

fn version_of(version: Option<Version>, dtls: Dtls) -> Dtls {
    version.into_iter().fold(dtls, Dtls::version)
}

/// What the README names as an exception, and what it says beside that: so that a change is noticed.
#[test]
fn t2c_one_hello_of_another_version_ends_or_lowers_a_set_up_of_a_server_of_both() {
    use Version::{Dtls12, Dtls13};
    // What we speak, what the client speaks, the forged hello; what they speak when it comes before the client's, and behind.
    for (ours, client, forged, before, behind) in [
        (None, Some(Dtls12), Dtls13, None, Some(Dtls12)),
        (None, Some(Dtls13), Dtls12, None, Some(Dtls13)),
        (None, None, Dtls12, Some(Dtls12), Some(Dtls13)),
        (None, None, Dtls13, Some(Dtls13), Some(Dtls13)),
        (None, Some(Dtls12), Dtls12, Some(Dtls12), Some(Dtls12)),
        (None, Some(Dtls13), Dtls13, Some(Dtls13), Some(Dtls13)),
        (Some(Dtls12), Some(Dtls12), Dtls13, Some(Dtls12), Some(Dtls12)),
        (Some(Dtls12), None, Dtls13, Some(Dtls12), Some(Dtls12)),
        (Some(Dtls13), None, Dtls12, Some(Dtls13), Some(Dtls13)),
        (Some(Dtls13), Some(Dtls13), Dtls12, Some(Dtls13), Some(Dtls13)),
    ] {
        let spoken = |is_behind| with_a_forged_hello(ours, client, forged, is_behind);
        let found = (spoken(false), spoken(true));
        assert_eq!(found, (before, behind), "we: {ours:?}, client: {client:?}, forged: {forged:?}");
    }
}

/// One forged request to a client of ours, whose stock server answers after so long. Returns how long it takes them.
fn with_a_forged_request(version: Version, late: Duration) -> Option<Duration> {
    let client = Dtls::generate().unwrap().any_certificate().version(version);
    let server = Stock::new(Role::Server, Some(version));
    let mut pair = Pair::of(client.start(Role::Client), server).ready();
    let mut forger = Forger::new(7, Role::Client, Vec::new(), &[]);
    let request = match version {
        Version::Dtls12 => Forged::HelloVerifyRequest,
        Version::Dtls13 => Forged::HelloRetryRequest,
    };
    pair.client.inbox.push_front((pair.now, forger.forge(request)));
    for (due, _) in &mut pair.server.inbox {
        *due += late;
    }
    let took = pair.run();
    matches!((&pair.client.outcome, &pair.server.outcome), (Some(Ok(_)), Some(Ok(_))))
        .then_some(took)
}

/// The same.
#[test]
fn t2c_one_request_ends_a_set_up_only_if_the_server_is_late() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let took = with_a_forged_request(version, Duration::ZERO);
        assert!(took.is_some_and(|took| took <= 4 * DELAY), "{version:?}: {took:?}");
        for late in [100, 300] {
            let took = with_a_forged_request(version, Duration::from_millis(late));
            assert_eq!(took, None, "{version:?}, {late} ms");
        }
    }
}

/// Of a way so short that the time is the stacks' own.
const LATENCIES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];
/// Between datagrams that are sent at once.
const BETWEEN: Duration = Duration::from_micros(30);
/// The deadline of a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
