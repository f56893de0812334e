//! Tests with thousands of different forged datagrams: a handshake of ours against a stock peer, and a forger
//! that sends in the peer's name but cannot read what is sent to it. Simulated, by seed, in virtual time.
//!
//! `FORGERY_SEEDS=50 cargo test -p callboard-ice-handshake --test forgeries -- --nocapture` prints the table of the
//! README; without the variable, two seeds a cell.
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

mod flood;
mod forgery;
mod stock;
mod wire;

use std::time::Duration;

use callboard_ice_handshake::handshake::*;
use flood::{Bed, Case, Flood, Outcome, run};
use forgery::{Forged, Forger};
use stock::Stock;
use wire::*;

/// Returns the kinds of `FORGERY_KINDS`, or all.
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

fn all_to(role: Role) -> &'static [Forged] {
    match role {
        Role::Server => &Forged::TO_SERVERS,
        Role::Client => &Forged::TO_CLIENTS,
    }
}

/// Kinds of forged datagrams, and the way in which they are sent.
#[derive(Clone, Copy)]
struct Attack {
    role: Role,
    flood: Flood,
    split: bool,
    loss: u32,
    latencies: &'static [Duration],
    /// `None` for all kinds.
    kinds: Option<&'static [Forged]>,
}

/// Effect of a kind on the set-ups of one attack.
#[derive(Default)]
struct Tally {
    runs: usize,
    failed: Vec<String>,
    /// Set-ups in which our side sent more than it may.
    loud: Vec<String>,
    forged: u32,
    sent: u32,
    /// Most datagrams that one set-up sent beyond those it sends without an attack.
    most: u32,
    cost: Duration,
}

impl Attack {
    /// Runs all kinds in all versions; prints a row for each kind, and returns the failures.
    fn table(self) -> Vec<String> {
        let Self { role, flood, split, loss, kinds: only, .. } = self;
        println!("we are {role:?}, {flood:?}, split: {split}, {loss} % lost");
        let cases = self.cases();
        kinds(only.unwrap_or(all_to(role))).flat_map(|forged| self.row(forged, &cases)).collect()
    }

    /// Returns one case for each cell, with the number of datagrams that our side sends there without an attack.
    fn cases(self) -> Vec<(Case, u32)> {
        let Self { role, split, loss, latencies, .. } = self;
        let cookies: &[bool] = match role {
            // A stock server repeats its request rarely, and more rarely with time: with loss, failures of such a
            // set-up are the server's.
            Role::Client if loss == 0 => &[false, true],
            _ => &[false],
        };
        let (forged, flood, seed) = (Forged::Mixed, Flood::Never, 0);
        let mut cases = Vec::new();
        for version in VERSIONS {
            for &latency in latencies {
                for &peer_cookie in cookies {
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
                    cases.push((case, run(case).sent));
                }
            }
        }
        cases
    }

    fn row(self, forged: Forged, cases: &[(Case, u32)]) -> Vec<String> {
        let (mut tally, mut cells) = (Tally::default(), Vec::new());
        for &(case, quiet) in cases {
            let (mut connected, mut longest) = (0, Duration::ZERO);
            for seed in 0..seeds() {
                let case = Case { forged, flood: self.flood, seed, ..case };
                let outcome = run(case);
                tally.count(case, &outcome, quiet);
                if let Some(took) = outcome.took {
                    connected += 1;
                    longest = longest.max(took);
                }
            }
            cells.push(format!("{connected}/{} {}", seeds(), longest.as_millis()));
        }
        let Tally { runs, failed, loud, forged: came, sent, most, cost } = tally;
        let each = cost.as_micros() / u128::from(came.max(1));
        println!(
            "| {forged:?} | {} | {} of {runs} failed | {each} µs | {came} in, {sent} out, at most {most} more |",
            cells.join(" | "),
            failed.len(),
        );
        // A continuous flood may keep one in a hundred set-ups from connecting. Floods that end must have no effect.
        let tolerated = if self.flood == Flood::Continuous { runs / 100 } else { 0 };
        let mut wrong = Vec::new();
        if failed.len() > tolerated {
            wrong.push(format!("{forged:?}: {} of {runs} failed: {failed:#?}", failed.len()));
        }
        if !loud.is_empty() {
            wrong.push(format!("{forged:?}: {} of {runs} sent much: {loud:#?}", loud.len()));
        }
        wrong
    }
}

impl Tally {
    fn count(&mut self, case: Case, outcome: &Outcome, quiet: u32) {
        self.runs += 1;
        self.cost += outcome.cost;
        self.forged += outcome.forged;
        self.sent += outcome.sent;
        self.most = self.most.max(outcome.sent.saturating_sub(quiet));
        if outcome.took.is_none() {
            self.failed.push(format!("{case:?}"));
        }
        // On a lossy path, these datagrams are repeated as well.
        if case.loss == 0 && outcome.sent > most_sent(case, outcome.forged, quiet) {
            self.loud.push(format!("{} instead of {quiet}: {case:?}", outcome.sent));
        }
    }
}

/// Returns how many datagrams our side may send at most.
fn most_sent(case: Case, forged: u32, quiet: u32) -> u32 {
    // A server answers each hello with a request for its cookie, for it may be the client's, and repeats the last
    // request.
    let asks = case.role == Role::Server
        && matches!(
            case.forged,
            Forged::Hello
                | Forged::UnacceptableHello
                | Forged::CookieHello
                | Forged::HelloPiece
                | Forged::HelloHead
                | Forged::Mixed
        );
    // A client sends two hellos at most, and repeats both.
    2 * quiet + REPEATED + if asks { forged + ASKED_AGAIN } else { 0 }
}

/// Runs all attacks, and checks each kind of datagram by itself.
fn assert_no_kind_keeps_a_peer_away(attacks: &[Attack]) {
    let wrong: Vec<String> = attacks.iter().flat_map(|attack| attack.table()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks a thousand a second of each kind: for the whole handshake, the same with the peer's records in a datagram
/// each, and for one second.
fn assert_a_thousand_a_second_change_nothing(role: Role) {
    let attack =
        |flood, split| Attack { role, flood, split, loss: 0, latencies: &LATENCIES, kinds: None };
    assert_no_kind_keeps_a_peer_away(&[
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
    assert_no_kind_keeps_a_peer_away(&[
        attack(
            Role::Server,
            &[Forged::Hello, Forged::ClientFlight, Forged::Finished, Forged::Mixed],
        ),
        attack(
            Role::Client,
            &[
                Forged::HelloVerifyRequest,
                Forged::ServerFlight12,
                Forged::ServerFlight13,
                Forged::Finished,
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
        assert_no_kind_keeps_a_peer_away(&[attack(Role::Server), attack(Role::Client)]);
    }
}

/// Without a peer, a forger makes our side send no more than it sends when nothing comes.
#[test]
fn t2c_a_forger_has_us_repeat_no_more_than_silence_does() {
    for role in [Role::Client, Role::Server] {
        assert_a_forger_is_not_answered(role);
    }
}

fn assert_a_forger_is_not_answered(role: Role) {
    for version in VERSIONS {
        let case = Case {
            role,
            version,
            latency: LATENCIES[1],
            forged: Forged::Mixed,
            flood: Flood::Never,
            peer_cookie: false,
            split: false,
            loss: 100,
            seed: 0,
        };
        let quiet = run(case).sent;
        for forged in kinds(all_to(role)) {
            let case = Case { forged, flood: Flood::OneSecond, ..case };
            let outcome = run(case);
            println!(
                "{role:?} {version:?} {forged:?}: {} sent, {quiet} in silence, {} came",
                outcome.sent, outcome.forged
            );
            assert!(outcome.took.is_none(), "{case:?}: connected with nothing");
            let most = most_sent(case, outcome.forged, quiet);
            assert!(outcome.sent <= most, "{case:?}: {} instead of {quiet}", outcome.sent);
        }
    }
}

#[test]
fn t2c_datagrams_forged_after_the_handshake_end_no_session_and_lose_no_data() {
    for role in [Role::Client, Role::Server] {
        for version in VERSIONS {
            for latency in LATENCIES {
                let quiet =
                    sent_after_the_handshake(role, version, latency, Forged::Mixed, Flood::Never);
                for forged in kinds(all_to(role)) {
                    let sent =
                        sent_after_the_handshake(role, version, latency, forged, Flood::Continuous);
                    println!(
                        "{role:?} {version:?} {latency:?} {forged:?}: {sent} instead of {quiet}"
                    );
                    assert!(
                        sent <= quiet + REPEATED,
                        "{role:?} {version:?} {latency:?} {forged:?}: {sent} instead of {quiet}"
                    );
                }
            }
        }
    }
}

/// Lets the two connect without an attack; then sends forged datagrams before the first data, beside it, and after it.
/// Returns how many datagrams our side sent for that.
fn sent_after_the_handshake(
    role: Role,
    version: Option<Version>,
    latency: Duration,
    forged: Forged,
    flood: Flood,
) -> u32 {
    let case = Case {
        role,
        version,
        latency,
        forged,
        flood: Flood::Never,
        peer_cookie: false,
        split: false,
        loss: 0,
        seed: 0,
    };
    let mut bed = Bed::new(case);
    bed.set_up();
    assert!(bed.outcome.took.is_some(), "{case:?}: not connected");
    let before = bed.outcome.sent;
    for phase in ["first", "second", "third"] {
        bed.go_on(Duration::from_millis(200), flood);
        for at in 0..5 {
            assert!(bed.talk(&format!("{phase} {at}")), "{case:?}: {phase} {at} is lost");
        }
        assert!(!bed.is_closed(), "{case:?}: closed in the {phase} phase");
    }
    assert!(flood == Flood::Never || bed.outcome.forged > 500, "{case:?}: {}", bed.outcome.forged);
    bed.outcome.sent - before
}

/// Sends one forged hello in the name of a stock client, before the client's own or right after it. Returns the version
/// of the connection; `None` if they do not connect.
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

/// Checks the exception that the README names, and its limits, so that a change is noticed.
#[test]
fn t2c_one_hello_of_another_version_ends_or_lowers_a_set_up_of_a_server_of_both() {
    use Version::{Dtls12, Dtls13};
    // Columns: our versions, the client's version, the forged hello; the resulting version when the forged hello comes
    // before the client's, and after it.
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

/// Sends one forged request to a client of ours, whose stock server answers after this delay. Returns how long they
/// take to connect.
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

/// Checks another exception that the README names, so that a change is noticed.
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

/// Delays in one direction: one so short that the time is the stacks' own, and a longer one.
const LATENCIES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];
/// Datagrams that a set-up may send in addition because it lasts longer.
const REPEATED: u32 = 6;
/// Number of times that a request is repeated, in the six seconds of the longest case.
const ASKED_AGAIN: u32 = 20;
