//! Two handshakes with a simulated wire between them, in virtual time.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]
#![allow(clippy::disallowed_methods, reason = "virtual time begins now")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;

/// Two sides and the wire between them.
pub struct Pair {
    pub now: Instant,
    pub client: Side,
    pub server: Side,
    pub random: fastrand::Rng,
    /// Datagrams lost of 100.
    pub loss: u32,
    /// Size in bytes of the pieces in which client hellos travel.
    pub pieces: Option<usize>,
    /// Client hellos so far, if each travels behind those before it in one datagram.
    pub together: Option<Vec<u8>>,
}

pub struct Side {
    pub handshake: Option<Box<dyn Handshake>>,
    pub inbox: VecDeque<(Instant, Bytes)>,
    pub outcome: Option<Result<HandshakeData, HandshakeError>>,
    pub session: Option<Box<dyn Session>>,
    pub payloads: Vec<Bytes>,
    /// Whether its session has ended.
    pub closed: bool,
    pub seen: Vec<Bytes>,
}

impl Side {
    pub fn new(handshake: Box<dyn Handshake>) -> Self {
        Self {
            handshake: Some(handshake),
            inbox: VecDeque::new(),
            outcome: None,
            session: None,
            payloads: Vec::new(),
            closed: false,
            seen: Vec::new(),
        }
    }

    pub fn take(&mut self, step: Step) -> Vec<Bytes> {
        match step {
            Step::Ok => Vec::new(),
            Step::Packets(packets) => packets,
            Step::Finished(data) => self.finish(data, Vec::new()),
            Step::FinishedWithPackets(data, packets) => self.finish(data, packets),
            Step::Failed(error) => self.fail(error, Vec::new()),
            Step::FailedWithPackets(error, packets) => self.fail(error, packets),
            Step::Closed => {
                self.handshake = None;
                self.outcome = Some(Err(HandshakeError::ClosedByPeer));
                Vec::new()
            }
        }
    }

    pub fn finish(&mut self, data: HandshakeData, packets: Vec<Bytes>) -> Vec<Bytes> {
        self.session = self.handshake.take().map(Handshake::into_session);
        self.outcome = Some(Ok(data));
        packets
    }

    pub fn fail(&mut self, error: HandshakeError, packets: Vec<Bytes>) -> Vec<Bytes> {
        self.handshake = None;
        self.outcome = Some(Err(error));
        packets
    }

    pub fn hear(&mut self, now: Instant, datagram: Bytes) -> Vec<Bytes> {
        self.seen.push(datagram.clone());
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.recv_from_peer(now, &datagram);
            return self.take(step);
        }
        let Some(session) = &mut self.session else { return Vec::new() };
        let mut out = SessionOutput::default();
        session.receive(now, datagram, &mut out);
        self.payloads.append(&mut out.payloads);
        self.closed |= out.closed;
        out.transmit
    }

    pub fn due(&self) -> Option<Instant> {
        match (&self.handshake, &self.session) {
            (Some(handshake), _) => handshake.poll_timeout(),
            (None, Some(session)) => session.poll_timeout(),
            _ => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Bytes> {
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.handle_timeout(now);
            return self.take(step);
        }
        let Some(session) = &mut self.session else { return Vec::new() };
        let mut out = SessionOutput::default();
        session.handle_timeout(now, &mut out);
        self.closed |= out.closed;
        out.transmit
    }

    pub fn data(&self) -> &DtlsData {
        match &self.outcome {
            Some(Ok(HandshakeData::Dtls(data))) => data,
            other => panic!("no DTLS data: {other:?}"),
        }
    }

    pub fn failure(&self) -> &HandshakeError {
        match &self.outcome {
            Some(Err(error)) => error,
            other => panic!("no failure: {other:?}"),
        }
    }

    pub fn send(&mut self, now: Instant, payload: &[u8]) -> Vec<Bytes> {
        let mut out = SessionOutput::default();
        self.session.as_mut().expect("it is connected").send(now, payload, &mut out);
        out.transmit
    }
}

impl Pair {
    pub fn new(client: &Dtls, server: &Dtls) -> Self {
        Self::of(client.start(Role::Client), server.start(Role::Server))
    }

    pub fn of(client: Box<dyn Handshake>, server: Box<dyn Handshake>) -> Self {
        _ = env_logger::builder().is_test(true).try_init();
        Self {
            now: Instant::now(),
            client: Side::new(client),
            server: Side::new(server),
            random: fastrand::Rng::with_seed(7),
            loss: 0,
            pieces: None,
            together: None,
        }
    }

    pub fn ready(mut self) -> Self {
        let step = self.server.handshake.as_mut().unwrap().connection_ready(self.now);
        let packets = self.server.take(step);
        self.send_to_client(packets);
        self.client.handshake.as_mut().unwrap().set_round_trip_time(2 * DELAY);
        let step = self.client.handshake.as_mut().unwrap().connection_ready(self.now);
        let packets = self.client.take(step);
        self.send_to_server(packets);
        self
    }

    pub fn send_to_server(&mut self, packets: Vec<Bytes>) {
        let pieces = self.pieces;
        let mut together = self.together.take();
        let packets: Vec<Bytes> = packets
            .into_iter()
            .flat_map(|packet| in_pieces(packet, pieces))
            .map(|packet| match &mut together {
                Some(before) if is_client_hello(&packet) => {
                    before.extend_from_slice(&packet);
                    Bytes::from(before.clone())
                }
                _ => packet,
            })
            .collect();
        self.together = together;
        for packet in packets {
            if self.random.u32(0..100) >= self.loss {
                self.server.inbox.push_back((self.now + DELAY, packet));
            }
        }
    }

    pub fn send_to_client(&mut self, packets: Vec<Bytes>) {
        for packet in packets {
            if self.random.u32(0..100) >= self.loss {
                self.client.inbox.push_back((self.now + DELAY, packet));
            }
        }
    }

    /// Runs the next event; returns false if there is none.
    pub fn step(&mut self) -> bool {
        let next = [
            self.client.inbox.front().map(|(at, _)| *at),
            self.server.inbox.front().map(|(at, _)| *at),
            self.client.due(),
            self.server.due(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if let Some((_, packet)) = pop_due(&mut self.server.inbox, self.now) {
            let packets = self.server.hear(self.now, packet);
            self.send_to_client(packets);
        } else if let Some((_, packet)) = pop_due(&mut self.client.inbox, self.now) {
            let packets = self.client.hear(self.now, packet);
            self.send_to_server(packets);
        } else {
            if self.client.due().is_some_and(|due| due <= self.now) {
                let packets = self.client.handle_timeout(self.now);
                self.send_to_server(packets);
            }
            if self.server.due().is_some_and(|due| due <= self.now) {
                let packets = self.server.handle_timeout(self.now);
                self.send_to_client(packets);
            }
        }
        true
    }

    /// Runs until both have an outcome; returns how long it took.
    pub fn run(&mut self) -> Duration {
        let began = self.now;
        while self.client.outcome.is_none() || self.server.outcome.is_none() {
            if !self.step() || self.now > began + Duration::from_secs(60) {
                break;
            }
        }
        self.now - began
    }

    pub fn settle(&mut self) {
        while !self.client.inbox.is_empty() || !self.server.inbox.is_empty() {
            self.step();
        }
    }

    pub fn assert_connected(&mut self) {
        let (client, server) = (self.client.data(), self.server.data());
        assert_eq!(
            client.srtp.as_ref().map(|keys| &keys.exported),
            server.srtp.as_ref().map(|keys| &keys.exported)
        );
        if let (Some(client), Some(server)) = (&client.srtp, &server.srtp) {
            assert_eq!(client.local, server.remote);
            assert_eq!(client.remote, server.local);
        }
        self.loss = 0;
        let packets = self.client.send(self.now, b"from the client");
        self.send_to_server(packets);
        let packets = self.server.send(self.now, b"from the server");
        self.send_to_client(packets);
        self.settle();
        assert_eq!(self.server.payloads.last().unwrap(), &b"from the client"[..]);
        assert_eq!(self.client.payloads.last().unwrap(), &b"from the server"[..]);
    }
}

fn pop_due(inbox: &mut VecDeque<(Instant, Bytes)>, now: Instant) -> Option<(Instant, Bytes)> {
    if inbox.front()?.0 <= now { inbox.pop_front() } else { None }
}

/// Returns two sides that know each other's certificates.
pub fn acquainted(version: Option<Version>) -> (Dtls, Dtls) {
    let (client, server) = (Dtls::generate().unwrap(), Dtls::generate().unwrap());
    let (of_client, of_server) =
        (client.certificate().fingerprint(), server.certificate().fingerprint());
    let with = |dtls: Dtls| match version {
        Some(version) => dtls.version(version),
        None => dtls,
    };
    (with(client).fingerprints([of_server]), with(server).fingerprints([of_client]))
}

pub const VERSIONS: [Option<Version>; 3] = [Some(Version::Dtls12), Some(Version::Dtls13), None];
/// Delay in one direction.
pub const DELAY: Duration = Duration::from_millis(10);

fn is_client_hello(packet: &[u8]) -> bool {
    packet[0] == 22 && packet[3..5] == [0, 0] && packet[13] == 1
}

/// Returns a client hello in pieces of this size; anything else as it is.
pub fn in_pieces(packet: Bytes, size: Option<usize>) -> Vec<Bytes> {
    let Some(size) = size.filter(|_| is_client_hello(&packet)) else {
        return vec![packet];
    };
    let body = packet.slice(25..);
    let piece = |(at, part): (usize, &[u8])| {
        let mut piece = packet[..25].to_vec();
        piece[11..13].copy_from_slice(&((part.len() + 12) as u16).to_be_bytes());
        piece[19..22].copy_from_slice(&((at * size) as u32).to_be_bytes()[1..]);
        piece[22..25].copy_from_slice(&(part.len() as u32).to_be_bytes()[1..]);
        piece.extend_from_slice(part);
        Bytes::from(piece)
    };
    body.chunks(size).enumerate().map(piece).collect()
}

/// Returns each record of a datagram as a datagram of its own.
pub fn in_records(datagram: &Bytes) -> Vec<Bytes> {
    let (mut rest, mut found) = (datagram.clone(), Vec::new());
    while let Some(&first) = rest.first() {
        let length = match first {
            // The unified header (RFC 9147 §4), with a length in it.
            0b0010_1100..=0b0010_1111 => 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]])),
            0b0010_0000..=0b0011_1111 => rest.len(),
            _ => 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]])),
        };
        found.push(rest.split_to(length));
    }
    found
}
