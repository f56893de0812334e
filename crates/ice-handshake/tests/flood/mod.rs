//! Simulation of a handshake of ours against a stock peer, and of a forger that sends in the peer's name; by seed, in
//! virtual time.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

use crate::forgery::{Forged, Forger};
use crate::stock::Stock;
use crate::wire::*;

/// Conditions of one set-up.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Role of our side.
    pub role: Role,
    pub version: Option<Version>,
    /// Delay in one direction.
    pub latency: Duration,
    pub forged: Forged,
    pub flood: Flood,
    /// Whether a stock server asks for a cookie.
    pub peer_cookie: bool,
    /// Whether each of the peer's records travels in a datagram of its own.
    pub split: bool,
    /// Datagrams lost of 100 between the two.
    pub loss: u32,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flood {
    /// No forged datagrams.
    Never,
    /// A thousand a second, from 50 ms before the handshake until it ends.
    Continuous,
    /// A thousand a second, for one second.
    OneSecond,
    /// This many within one round trip.
    Burst(u32),
}

pub struct Outcome {
    /// Duration in virtual time, if both sides connected.
    pub took: Option<Duration>,
    pub forged: u32,
    /// Processor time that all forged datagrams took.
    pub cost: Duration,
    /// Datagrams sent by our side.
    pub sent: u32,
}

pub struct Bed {
    now: Instant,
    began: Instant,
    client: Side,
    server: Side,
    queue: BinaryHeap<Reverse<Flying>>,
    order: u64,
    case: Case,
    random: fastrand::Rng,
    forger: Forger,
    /// Time of the next forged datagram.
    next_forged: Instant,
    /// Number of events at the present time.
    turns: u32,
    pub outcome: Outcome,
}

/// Datagram under way: time of arrival, its place among those of the same time, whether it goes to the server, whether
/// it is forged.
type Flying = (Instant, u64, bool, bool, Bytes);

/// Lets the two connect, if they can.
pub fn run(case: Case) -> Outcome {
    let mut bed = Bed::new(case);
    bed.set_up();
    bed.outcome
}

impl Bed {
    pub fn new(case: Case) -> Self {
        let (ours, theirs) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let dtls = Dtls::new(ours).fingerprints([theirs.fingerprint()]);
        let dtls = case.version.into_iter().fold(dtls, Dtls::version);
        let stock = |role, cookie| Stock::with(role, case.version, &theirs, cookie);
        let (client, server) = match case.role {
            Role::Client => (dtls.start(Role::Client), stock(Role::Server, case.peer_cookie)),
            Role::Server => (stock(Role::Client, false), dtls.start(Role::Server)),
        };
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(case.seed);
        let began = now + Duration::from_millis(50);
        let next_forged = match case.flood {
            Flood::Burst(_) => began,
            _ => now + Duration::from_micros(random.u64(0..1_000)),
        };
        let mut other = Stock::new(Role::Client, case.version);
        let Step::Packets(hello) = other.connection_ready(now) else { panic!("no hello") };
        Self {
            now,
            began,
            client: Side::new(client),
            server: Side::new(server),
            queue: BinaryHeap::new(),
            order: 0,
            case,
            random,
            forger: Forger::new(case.seed, case.role, hello[0].to_vec(), theirs.certificate()),
            next_forged,
            turns: 0,
            outcome: Outcome { took: None, forged: 0, cost: Duration::ZERO, sent: 0 },
        }
    }

    /// Lets the two do the handshake, until both have an outcome or the time-out comes.
    pub fn set_up(&mut self) {
        while self.turn(self.began) {}
        self.begin();
        // Stock stacks repeat lost flights after 1, 2 and 4 s.
        let patience = match self.case.flood {
            Flood::Never | Flood::OneSecond => Duration::from_secs(1 + 5),
            _ if self.case.loss > 0 => 4 * PATIENCE,
            _ => PATIENCE,
        };
        let end = self.began + patience;
        while self.turn(end) {
            if let (Some(client), Some(server)) = (&self.client.outcome, &self.server.outcome) {
                let connected = client.is_ok() && server.is_ok();
                self.outcome.took = connected.then(|| self.now - self.began);
                return;
            }
        }
    }

    /// Lets this much time pass, with this flood of forged datagrams.
    pub fn go_on(&mut self, time: Duration, flood: Flood) {
        (self.case.flood, self.next_forged) = (flood, self.next_forged.max(self.now));
        let end = self.now + time;
        while self.turn(end) {}
    }

    /// Sends this payload from each side, while the flood goes on. Returns whether each side received the other's.
    pub fn talk(&mut self, payload: &str) -> bool {
        for from_server in [true, false] {
            let now = self.now;
            let packets = self.side(from_server).send(now, payload.as_bytes());
            self.send(from_server, packets);
        }
        self.go_on(self.case.latency + Duration::from_millis(1), self.case.flood);
        [&self.client, &self.server].iter().all(|side| {
            side.payloads.iter().filter(|heard| *heard == payload.as_bytes()).count() == 1
        })
    }

    /// Returns whether our session has ended.
    pub fn is_closed(&mut self) -> bool {
        let server = self.case.role == Role::Server;
        self.side(server).closed
    }

    /// Runs the next event. Returns false if there is none before `end`, to which the time then moves.
    fn turn(&mut self, end: Instant) -> bool {
        let forged_at = self.is_flooded().then_some(self.next_forged);
        let next = self.next().into_iter().chain(forged_at).min().filter(|next| *next < end);
        let Some(next) = next else {
            self.now = end;
            return false;
        };
        // No side may ask again and again for a time that has passed.
        self.turns = if next <= self.now { self.turns + 1 } else { 0 };
        let (dues, case) = ((self.client.due(), self.server.due()), self.case);
        assert!(self.turns < 10_000, "{case:?} turns in circles at {next:?}: {dues:?}");
        self.now = self.now.max(next);
        if forged_at.is_some_and(|at| at <= self.now) {
            self.forge();
        } else {
            self.step();
        }
        true
    }

    fn is_flooded(&self) -> bool {
        match self.case.flood {
            Flood::Never => false,
            Flood::Continuous => true,
            Flood::OneSecond => self.next_forged < self.began + Duration::from_secs(1),
            Flood::Burst(count) => self.outcome.forged < count,
        }
    }

    fn forge(&mut self) {
        let datagram = self.forger.forge(self.case.forged);
        self.deliver(self.case.role == Role::Server, true, datagram);
        self.next_forged += match self.case.flood {
            Flood::Burst(count) => 2 * self.case.latency / count,
            _ => Duration::from_micros(self.random.u64(500..1_500)),
        };
    }

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
            // The peer has not started yet.
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

/// Deadline of a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between datagrams that are sent at once.
const BETWEEN: Duration = Duration::from_micros(30);
