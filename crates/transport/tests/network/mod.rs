//! Gatherer with a simulated network of STUN and TURN servers, in virtual time.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]
#![allow(clippy::field_reassign_with_default, reason = "options can be made in no other way")]
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callboard_transport::gather::*;
use is::Candidate;
use stun_proto::agent::Transmit;
use stun_proto::types::TransportType;
use stun_proto::types::attribute::{ErrorCode, XorMappedAddress};
use stun_proto::types::message::{Message, MessageClass, MessageWriteVec};
use stun_proto::types::prelude::*;
use turn_server_proto::api::{TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;

/// Gatherer and the network around it.
pub struct World {
    pub now: Instant,
    born: Instant,
    pub gatherer: Gatherer,
    /// Packets under way, in order of arrival.
    wire: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    /// Addresses of names, or errors.
    pub names: BTreeMap<String, Result<Vec<SocketAddr>, String>>,
    pub stun: BTreeMap<SocketAddr, Stun>,
    pub turn: BTreeMap<SocketAddr, Turn>,
    /// Open connections to TURN servers.
    pub ways: BTreeMap<u32, Way>,
    next_port: u16,
    /// Size in bytes of the pieces in which streams arrive.
    pub piece: usize,

    pub candidates: Vec<LocalCandidate>,
    pub errors: Vec<CandidateError>,
    pub lost: Vec<Candidate>,
    pub done: u32,
    /// Datagrams that peers sent through relays: sender, relayed address, payload.
    pub received: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Datagrams that relays passed to peers: relayed address, peer, payload.
    pub at_peers: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Answers that other connections of the mux are told.
    pub told: Vec<(SocketAddr, SocketAddr, Option<SocketAddr>)>,
}

/// Simulated STUN server.
#[derive(Default)]
pub struct Stun {
    /// Address under which it sees every client.
    pub sees: Option<SocketAddr>,
    pub refuses: Option<u16>,
    /// Number of requests that are lost.
    pub loses: u32,
    /// Time at which each request came.
    pub asked: Vec<Instant>,
}

/// Simulated TURN server.
pub struct Turn {
    /// `None` while it does not run.
    pub server: Option<TurnServer>,
    transport: TransportType,
    address: SocketAddr,
    next_relayed: SocketAddr,
    pub relayed: HashSet<SocketAddr>,
    /// Datagrams that came from the gatherer.
    pub heard: Vec<Vec<u8>>,
    due: Option<Instant>,
}

#[derive(Clone, Debug)]
pub struct Way {
    pub local: SocketAddr,
    pub server: SocketAddr,
    pub transport: RelayTransport,
}

enum Packet {
    ToStun { source: SocketAddr, server: SocketAddr, contents: Vec<u8> },
    FromStun { server: SocketAddr, contents: Vec<u8> },
    Resolved { server: usize, addresses: Result<Vec<SocketAddr>, String> },
    Open { relay: RelayId },
    Ended { relay: RelayId },
    ToTurn { client: SocketAddr, server: SocketAddr, contents: Vec<u8> },
    FromTurn { relay: RelayId, contents: Vec<u8> },
    FromPeer { peer: SocketAddr, relayed: SocketAddr, contents: Vec<u8> },
}

impl World {
    pub fn new(servers: Vec<IceServer>, change: impl FnOnce(&mut GathererOptions)) -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        let mut options = GathererOptions::default();
        options.servers = servers;
        change(&mut options);
        let born = Instant::now();
        Self {
            now: born,
            born,
            gatherer: Gatherer::new(options),
            wire: BTreeMap::new(),
            sent: 0,
            names: BTreeMap::new(),
            stun: BTreeMap::new(),
            turn: BTreeMap::new(),
            ways: BTreeMap::new(),
            next_port: 50_000,
            piece: usize::MAX,
            candidates: Vec::new(),
            errors: Vec::new(),
            lost: Vec::new(),
            done: 0,
            received: Vec::new(),
            at_peers: Vec::new(),
            told: Vec::new(),
        }
    }

    pub fn with_stun(mut self, address: &str, stun: Stun) -> Self {
        self.stun.insert(address.parse().unwrap(), stun);
        self
    }

    pub fn with_turn(mut self, transport: TransportType, address: &str, relayed: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let next_relayed = SocketAddr::new(relayed.parse().unwrap(), 49_152);
        let turn = Turn {
            server: None,
            transport,
            address,
            next_relayed,
            relayed: HashSet::new(),
            heard: Vec::new(),
            due: None,
        };
        self.turn.insert(address, turn);
        self.start_turn(address);
        self
    }

    /// Starts a TURN server that knows no allocation.
    pub fn start_turn(&mut self, address: SocketAddr) {
        let turn = self.turn.get_mut(&address).unwrap();
        let mut server = TurnServer::new(turn.transport, address, "realm".to_owned());
        server.add_user(USER.to_owned(), PASSWORD.to_owned());
        (turn.server, turn.due) = (Some(server), Some(self.now));
        turn.relayed.clear();
    }

    pub fn gather(&mut self) {
        let hosts = vec![HOST.parse().unwrap()];
        self.gather_on(hosts);
    }

    pub fn gather_on(&mut self, hosts: Vec<SocketAddr>) {
        self.gatherer.gather(self.now, hosts);
        self.settle();
    }

    /// Sends from a peer to a relayed address.
    pub fn send_from_peer(&mut self, peer: &str, relayed: SocketAddr, contents: &[u8]) {
        let peer = peer.parse().unwrap();
        self.put(Packet::FromPeer { peer, relayed, contents: contents.to_vec() });
    }

    /// Sends from a relayed address to a peer, by the gatherer.
    pub fn send(&mut self, relayed: SocketAddr, peer: &str, contents: &[u8]) -> bool {
        let sent = self.gatherer.send(self.now, relayed, peer.parse().unwrap(), contents);
        self.settle();
        sent
    }

    /// Breaks the connection to a server, and reports it as the driver would.
    pub fn break_way(&mut self, why: &str) {
        let relay = RelayId(*self.ways.keys().next().expect("a way"));
        self.gatherer.handle_lost(self.now, relay, why.to_owned());
        self.settle();
    }

    /// Lets this much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
        self.settle();
    }

    /// Runs until gathering is done; returns how long it took.
    pub fn run_until_done(&mut self) -> Duration {
        let (began, done) = (self.now, self.done);
        while self.done == done {
            assert!(self.step(began + Duration::from_secs(60)), "gathering never ends");
        }
        self.now - began
    }

    /// Runs the next event, if it is not later than `end`.
    fn step(&mut self, end: Instant) -> bool {
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let gatherer = self.gatherer.poll_timeout(self.now);
        let turn = self.turn.values().filter_map(|turn| turn.due).min();
        let Some(next) = [wire, gatherer, turn].into_iter().flatten().min() else { return false };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        if wire.is_some_and(|due| due <= self.now) {
            let (_, packet) = self.wire.pop_first().unwrap();
            self.arrive(packet);
        }
        if gatherer.is_some_and(|due| due <= self.now) {
            self.gatherer.handle_timeout(self.now);
        }
        self.settle();
        let due = |turn: &Turn| turn.due.is_some_and(|due| due <= self.now);
        let due: Vec<_> = self.turn.iter().filter(|(_, turn)| due(turn)).map(|it| *it.0).collect();
        due.into_iter().for_each(|server| self.serve_turn(server));
        true
    }

    fn put(&mut self, packet: Packet) {
        self.sent += 1;
        self.wire.insert((self.now + DELAY, self.sent), packet);
    }

    /// Carries out the gatherer's outputs.
    pub fn settle(&mut self) {
        while let Some(output) = self.gatherer.poll_output() {
            match output {
                GathererOutput::Resolve { server, host, port } => {
                    let addresses = match self.names.get(&host) {
                        Some(known) => known.clone(),
                        None => Ok(vec![SocketAddr::new(host.parse().expect("an address"), port)]),
                    };
                    self.put(Packet::Resolved { server, addresses });
                }
                GathererOutput::LookUp { host, server } => {
                    self.gatherer.ask(self.now, host, server)
                }
                GathererOutput::Mapped { host, server, mapped } => {
                    self.told.push((host, server, mapped))
                }
                GathererOutput::Transmit(transmit) => {
                    let (source, server) = (transmit.source, transmit.destination);
                    let contents = transmit.contents.to_vec();
                    self.put(Packet::ToStun { source, server, contents });
                }
                GathererOutput::Open { relay, transport, server } => {
                    self.next_port += 1;
                    let local =
                        SocketAddr::new(HOST.parse::<SocketAddr>().unwrap().ip(), self.next_port);
                    self.ways.insert(relay.0, Way { local, server, transport });
                    self.put(Packet::Open { relay });
                }
                GathererOutput::TransmitToRelay { relay, contents } => {
                    self.transmit_to_relay(relay, &contents);
                }
                GathererOutput::Close { relay } => {
                    assert!(self.ways.remove(&relay.0).is_some(), "closed twice");
                    // The driver's task ends, and reports it.
                    self.put(Packet::Ended { relay });
                }
                GathererOutput::Received { source, destination, contents } => {
                    self.received.push((source, destination, contents.to_vec()));
                }
                GathererOutput::Candidate(found) => self.candidates.push(found),
                GathererOutput::CandidateError(error) => self.errors.push(error),
                GathererOutput::CandidateLost(candidate) => self.lost.push(candidate),
                GathererOutput::Done => self.done += 1,
            }
        }
    }

    pub fn transmit_to_relay(&mut self, relay: RelayId, contents: &[u8]) {
        let Way { local, server, .. } = self.ways[&relay.0].clone();
        self.put(Packet::ToTurn { client: local, server, contents: contents.to_vec() });
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::ToStun { source, server, contents } => self.ask_stun(source, server, &contents),
            Packet::FromStun { server, contents } => {
                assert!(self.gatherer.handle_datagram(self.now, server, &contents));
            }
            Packet::Resolved { server, addresses } => {
                self.gatherer.handle_resolved(self.now, server, addresses);
            }
            Packet::Open { relay } => {
                let Some(way) = self.ways.get(&relay.0) else { return };
                let refused = way.transport != RelayTransport::Udp
                    && self.turn.get(&way.server).is_none_or(|turn| turn.server.is_none());
                if refused {
                    self.gatherer.handle_lost(self.now, relay, "connection refused".to_owned());
                } else {
                    self.gatherer.handle_open(self.now, relay, way.local);
                }
            }
            Packet::Ended { relay } => {
                self.gatherer.handle_lost(self.now, relay, "the way has ended".to_owned());
            }
            Packet::ToTurn { client, server, contents } => {
                let Some(turn) = self.turn.get_mut(&server) else { return };
                turn.heard.push(contents.clone());
                let contents = match turn.transport {
                    TransportType::Tcp => without_padding(contents),
                    TransportType::Udp => contents,
                };
                self.tell_turn(server, client, server, contents);
            }
            Packet::FromTurn { relay, contents } => {
                if self.ways.contains_key(&relay.0) {
                    self.gatherer.handle_relay(self.now, relay, &contents);
                }
            }
            Packet::FromPeer { peer, relayed, contents } => {
                let of = |turn: &&Turn| turn.relayed.contains(&relayed);
                if let Some(server) = self.turn.values().find(of).map(|turn| turn.address) {
                    self.tell_turn(server, peer, relayed, contents);
                }
            }
        }
    }

    fn ask_stun(&mut self, _source: SocketAddr, address: SocketAddr, contents: &[u8]) {
        let Some(stun) = self.stun.get_mut(&address) else { return };
        stun.asked.push(self.now);
        if stun.loses > 0 {
            stun.loses -= 1;
            return;
        }
        let request = Message::from_bytes(contents).unwrap();
        assert_eq!(request.class(), MessageClass::Request);
        let answer = if let Some(code) = stun.refuses {
            let mut answer = Message::builder_error(&request, MessageWriteVec::new());
            answer.add_attribute(&ErrorCode::new(code, "Go Away").unwrap()).unwrap();
            answer
        } else if let Some(sees) = stun.sees {
            let mut answer = Message::builder_success(&request, MessageWriteVec::new());
            let mapped = XorMappedAddress::new(sees, request.transaction_id());
            answer.add_attribute(&mapped).unwrap();
            answer
        } else {
            return;
        };
        self.put(Packet::FromStun { server: address, contents: answer.finish() });
    }

    fn tell_turn(
        &mut self,
        address: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
        contents: Vec<u8>,
    ) {
        let time = self.time();
        let turn = self.turn.get_mut(&address).unwrap();
        let Some(server) = &mut turn.server else { return };
        let transport = if to == address { turn.transport } else { TransportType::Udp };
        let transmit = server.recv(Transmit::new(contents, transport, from, to), time);
        if let Some(transmit) = transmit {
            self.turn_sends(address, transmit.build());
        }
        self.serve_turn(address);
    }

    fn serve_turn(&mut self, address: SocketAddr) {
        let (time, now) = (self.time(), self.now);
        loop {
            let turn = self.turn.get_mut(&address).unwrap();
            let Some(server) = &mut turn.server else {
                turn.due = None;
                return;
            };
            match server.poll(time) {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let relayed = turn.next_relayed;
                    turn.next_relayed.set_port(relayed.port() + 1);
                    turn.relayed.insert(relayed);
                    let (of, relayed) = (allocation_transport, Ok(relayed));
                    server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        of,
                        family,
                        relayed,
                        time,
                    );
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    turn.relayed.remove(&listen_addr);
                }
                TurnServerPollRet::WaitUntil(at) => {
                    let wait = at.saturating_duration_since(time).max(Duration::from_millis(1));
                    turn.due = Some(now + wait);
                    break;
                }
                _ => {}
            }
        }
        while let Some(transmit) = self
            .turn
            .get_mut(&address)
            .and_then(|turn| turn.server.as_mut())
            .and_then(|server| server.poll_transmit(time))
        {
            self.turn_sends(address, transmit);
        }
    }

    fn turn_sends(&mut self, address: SocketAddr, transmit: Transmit<Vec<u8>>) {
        if transmit.from != address {
            self.at_peers.push((transmit.from, transmit.to, transmit.data));
            return;
        }
        let to = |(_, way): &(&u32, &Way)| way.local == transmit.to && way.server == address;
        let Some(relay) = self.ways.iter().find(to).map(|(relay, _)| RelayId(*relay)) else {
            return;
        };
        let (data, piece) = match self.turn[&address].transport {
            TransportType::Udp => (transmit.data.clone(), transmit.data.len()),
            TransportType::Tcp => (with_padding(transmit.data), self.piece),
        };
        for contents in data.chunks(piece.max(1)) {
            self.put(Packet::FromTurn { relay, contents: contents.to_vec() });
        }
    }

    fn time(&self) -> stun_proto::Instant {
        stun_proto::Instant::from_nanos((self.now - self.born).as_nanos().try_into().unwrap())
    }

    /// Returns the candidates found: kind, address, base.
    pub fn found(&self) -> Vec<(String, String, String)> {
        let text = |found: &LocalCandidate| {
            let candidate = &found.candidate;
            (
                candidate.kind().to_string(),
                candidate.addr().to_string(),
                candidate.local().to_string(),
            )
        };
        self.candidates.iter().map(text).collect()
    }

    /// Returns the address of the latest relay.
    pub fn relayed(&self) -> SocketAddr {
        let relayed =
            |found: &&LocalCandidate| found.candidate.kind() == is::CandidateKind::Relayed;
        self.candidates.iter().rev().find(relayed).expect("a relay").candidate.addr()
    }
}

/// Adds the padding of channel data in a stream (RFC 8656 §12.5), which the server here does not know.
fn with_padding(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

fn without_padding(mut message: Vec<u8>) -> Vec<u8> {
    assert_eq!(message.len() % 4, 0, "a message without its padding");
    if message[0] >= 0x40 {
        message.truncate(4 + usize::from(u16::from_be_bytes([message[2], message[3]])));
    }
    message
}

pub fn stun(url: &str) -> IceServer {
    IceServer::new(url).unwrap()
}

pub fn turn(url: &str) -> IceServer {
    IceServer::turn(url, USER, PASSWORD).unwrap()
}

pub const USER: &str = "ada";
pub const PASSWORD: &str = "lovelace";
pub const HOST: &str = "10.0.0.2:5000";
/// Delay in one direction.
pub const DELAY: Duration = Duration::from_millis(10);
