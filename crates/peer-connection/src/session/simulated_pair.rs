//! Two connections in simulated time, on a simulated wire: for tests and fuzzing.
#![cfg_attr(fuzzing, allow(dead_code, missing_docs))]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_ice_handshake::handshake::*;
use callboard_supervision::Core;
use callboard_transport::gather::*;
use callboard_transport::mux::Transmit;

use crate::channels::ReceiptId;
use crate::default_handshake::DefaultHandshake;
use crate::engine::Candidate;
use crate::event::ConnectionEvent;
use crate::session::{Session, SessionOutput};
use crate::*;

/// Connection with its handshake, and the events that it has sent.
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) address: SocketAddr,
    api: Api,
    certificate: Certificate,
    handshake: Option<Box<dyn Handshake>>,
    pub(crate) events: Vec<ConnectionEvent>,
    /// Receipts of messages, and whether they have arrived.
    pub(crate) receipts: Vec<(ReceiptId, bool)>,
    /// Candidates for the other side, not delivered yet.
    pub(crate) candidates: VecDeque<Option<IceCandidate>>,
    pub(crate) ended: bool,
    pub(crate) gathered: usize,
    /// Number of times that a datagram or a time-out has woken it.
    pub(crate) wakes: usize,
}

/// Behaviour of the wire: when a datagram arrives, if at all, once or more often.
pub(crate) type Conditions = Box<dyn FnMut(Duration) -> Vec<Duration>>;

/// Datagram on the wire: whether it is for B, its addresses, and its contents.
type InFlight = (bool, SocketAddr, SocketAddr, Vec<u8>);

pub(crate) struct Pair {
    pub(crate) a: Peer,
    pub(crate) b: Peer,
    pub(crate) now: Instant,
    start: Instant,
    wire: BTreeMap<(Instant, u64), InFlight>,
    count: u64,
    pub(crate) conditions: Conditions,
    /// Whether candidates go to the other side as soon as they are reported.
    pub(crate) trickle: bool,
}

impl Peer {
    fn new(api: Api, address: &str, now: Instant) -> Self {
        let certificate = Certificate::generate().unwrap();
        let id = PeerConnectionId(uuid::Uuid::nil());
        let inner = Arc::clone(&api.inner);
        let session = Session::new(id, inner, certificate.clone(), now, std::time::UNIX_EPOCH);
        Self {
            session,
            address: address.parse().unwrap(),
            api,
            certificate,
            handshake: None,
            events: Vec::new(),
            receipts: Vec::new(),
            candidates: VecDeque::new(),
            ended: false,
            gathered: 0,
            wakes: 0,
        }
    }

    fn carry_out(&mut self, now: Instant, step: Step) {
        match step {
            Step::Ok => {}
            Step::Packets(packets) => self.session.transmit_handshake(now, packets),
            Step::FinishedWithPackets(data, packets) => {
                self.session.transmit_handshake(now, packets);
                self.finish(now, data);
            }
            Step::Finished(data) => self.finish(now, data),
            Step::Failed(error) | Step::FailedWithPackets(error, _) => {
                self.session.fail_handshake(now, &error)
            }
            Step::Closed => self.session.fail_handshake(now, &HandshakeError::ClosedByPeer),
        }
    }

    fn finish(&mut self, now: Instant, data: HandshakeData) {
        let session = self.handshake.take().unwrap().into_session();
        // Packets that the handshake has not seen, which its actor's owner keeps as unconfirmed.
        let mut kept = Vec::new();
        self.session.output.retain(|output| match output {
            SessionOutput::Handshake(datagram) => {
                kept.push(datagram.clone());
                false
            }
            _ => true,
        });
        let finished = Finished { data, session, consumed: 0, kept };
        self.session.finish_handshake(now, finished);
    }

    /// Carries out the connection's outputs, and returns the datagrams that it sends.
    fn settle(&mut self, now: Instant) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        self.session.catch_up(now);
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Transmit(Transmit { source, destination, contents }) => {
                    sent.push((source, destination, contents))
                }
                SessionOutput::Event(ConnectionEvent::IceCandidate(candidate)) => {
                    self.candidates.push_back(candidate.clone());
                    self.events.push(ConnectionEvent::IceCandidate(candidate));
                }
                SessionOutput::Event(event) => self.events.push(event),
                SessionOutput::AddUfrag(_)
                | SessionOutput::RemoveUfrag(_)
                | SessionOutput::Validate(_) => {}
                SessionOutput::Gather => {
                    self.gathered += 1;
                    let host = Candidate::host(self.address, "udp").unwrap();
                    let found = LocalCandidate::new(host, None);
                    self.session.add_local_candidate(now, found);
                    self.session.gathered(now);
                }
                SessionOutput::StartHandshake(role, fingerprints) => {
                    let factory =
                        DefaultHandshake::new(self.certificate.clone(), self.api.settings());
                    let component =
                        ComponentInfo::new(ComponentId(1), role == Role::Server).with_role(role);
                    let mut handshake = factory.new_handshake(&component);
                    handshake.init();
                    handshake.set_remote_init_data(InitData::Fingerprints(fingerprints));
                    self.handshake = Some(handshake);
                }
                SessionOutput::HandshakeReady(round_trip_time) => {
                    if let Some(handshake) = &mut self.handshake {
                        if let Some(time) = round_trip_time {
                            handshake.set_round_trip_time(time);
                        }
                        let step = handshake.connection_ready(now);
                        self.carry_out(now, step);
                    }
                }
                SessionOutput::Handshake(datagram) => {
                    if let Some(handshake) = &mut self.handshake {
                        let step = handshake.recv_from_peer(now, &datagram);
                        self.carry_out(now, step);
                    }
                }
                SessionOutput::Receipt(receipt, arrived) => self.receipts.push((receipt, arrived)),
                SessionOutput::Ended => self.ended = true,
            }
        }
        sent
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let handshake = self.handshake.as_ref().and_then(|handshake| handshake.poll_timeout());
        [self.session.poll_timeout(), handshake].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.wakes += 1;
        }
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
        }
        if let Some(handshake) = &mut self.handshake
            && handshake.poll_timeout().is_some_and(|due| due <= now)
        {
            let step = handshake.handle_timeout(now);
            self.carry_out(now, step);
        }
    }

    pub(crate) fn state(&self) -> PeerConnectionState {
        self.session.states().connection
    }

    pub(crate) fn signaling(&self) -> SignalingState {
        self.session.jsep().signaling()
    }

    /// Returns the messages that were received on any channel.
    pub(crate) fn messages(&self) -> Vec<DataChannelMessage> {
        let message = |event: &ConnectionEvent| match event {
            ConnectionEvent::DataChannelMessage { message, .. } => Some(message.clone()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    pub(crate) fn needs(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, ConnectionEvent::NegotiationNeeded))
            .count()
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        message: DataChannelMessage,
    ) -> Result<(), error::SendDataError> {
        let sent = self.session.send_data(now, channel, message);
        self.session.flush(now);
        sent
    }

    pub(crate) fn text(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        text: &str,
    ) -> Result<(), error::SendDataError> {
        self.send(now, channel, DataChannelMessage::Text(text.to_owned()))
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(Api::default(), Api::default())
    }

    #[allow(clippy::disallowed_methods, reason = "a beginning for times to be counted from")]
    pub(crate) fn with(a: Api, b: Api) -> Self {
        let now = Instant::now();
        Self {
            a: Peer::new(a, "10.0.0.1:1111", now),
            b: Peer::new(b, "10.0.0.2:2222", now),
            now,
            start: now,
            wire: BTreeMap::new(),
            count: 0,
            conditions: Box::new(|_| vec![Duration::from_millis(10)]),
            trickle: true,
        }
    }

    /// Runs until the condition holds, at most for this long.
    pub(crate) fn until(&mut self, longest: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + longest;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let next = [
                self.wire.keys().next().map(|(at, _)| *at),
                self.a.poll_timeout(),
                self.b.poll_timeout(),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return false;
            }
            // Time passes, even if a side asks to be woken at once.
            self.now = next.max(self.now + Duration::from_micros(1));
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to_b, source, destination, contents) = entry.remove();
                let peer = if to_b { &mut self.b } else { &mut self.a };
                peer.wakes += 1;
                let stun = contents.first().is_some_and(|first| *first < 4);
                peer.session.handle_datagram(
                    self.now,
                    self.now,
                    source,
                    destination,
                    stun,
                    &contents,
                );
            }
            self.a.handle_timeout(self.now);
            self.b.handle_timeout(self.now);
        }
    }

    pub(crate) fn settle(&mut self) {
        loop {
            let (of_a, of_b) = (self.a.settle(self.now), self.b.settle(self.now));
            let mut idle = true;
            for (to_b, sent) in [(true, of_a), (false, of_b)] {
                for (source, destination, contents) in sent {
                    idle = false;
                    let other = if to_b { self.b.address } else { self.a.address };
                    if destination != other {
                        continue;
                    }
                    for delay in (self.conditions)(self.now - self.start) {
                        self.count += 1;
                        self.wire.insert(
                            (self.now + delay, self.count),
                            (to_b, source, destination, contents.clone()),
                        );
                    }
                }
            }
            if self.trickle {
                let (a, b) = (&mut self.a, &mut self.b);
                idle &= !trickle(self.now, a, b);
                idle &= !trickle(self.now, b, a);
            }
            if idle {
                return;
            }
        }
    }

    /// Runs a round: one side offers, the other answers.
    pub(crate) fn negotiate(&mut self) {
        Self::exchange(&mut self.a, &mut self.b, self.now, false);
    }

    pub(crate) fn negotiate_from_b(&mut self) {
        Self::exchange(&mut self.b, &mut self.a, self.now, false);
    }

    pub(crate) fn restart(&mut self, by_b: bool) {
        if by_b {
            Self::exchange(&mut self.b, &mut self.a, self.now, true);
        } else {
            Self::exchange(&mut self.a, &mut self.b, self.now, true);
        }
    }

    fn exchange(one: &mut Peer, other: &mut Peer, now: Instant, restart: bool) {
        let offer = one.session.create_offer(restart).unwrap();
        one.session.set_local_description(now, Some(offer.clone())).unwrap();
        other.session.set_remote_description(now, offer).unwrap();
        let answer = other.session.create_answer(now).unwrap();
        other.session.set_local_description(now, Some(answer.clone())).unwrap();
        one.session.set_remote_description(now, answer).unwrap();
    }

    pub(crate) fn connected(&self) -> bool {
        [&self.a, &self.b].iter().all(|peer| peer.state() == PeerConnectionState::Connected)
    }

    #[track_caller]
    pub(crate) fn connect(&mut self) {
        assert!(
            self.until(Duration::from_secs(20), Self::connected),
            "{} {}",
            self.a.state(),
            self.b.state()
        );
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.until(time, |_| false);
    }

    /// Creates a channel on A, and runs until it is open on both sides.
    pub(crate) fn channel(&mut self, label: &str, options: DataChannelOptions) -> DataChannelId {
        self.a.session.create_data_channel(self.now, label.to_owned(), options).unwrap()
    }
}

/// Delivers candidates, and returns whether there were any.
fn trickle(now: Instant, from: &mut Peer, to: &mut Peer) -> bool {
    let mut told = false;
    while to.session.jsep().remote().is_some()
        && let Some(candidate) = from.candidates.pop_front()
    {
        told = true;
        if let Some(candidate) = candidate {
            _ = to.session.add_ice_candidate(now, Some(candidate));
        }
    }
    told
}

pub(crate) fn bytes(length: usize) -> DataChannelMessage {
    DataChannelMessage::Binary(bytes::Bytes::from(vec![7; length]))
}
