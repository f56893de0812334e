//! An allocation on a TURN server (RFC 8656), whatever leads there.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stun_proto::types::TransportType;
use stun_proto::types::attribute::ErrorCode;
use stun_proto::types::message::{Message, MessageClass, TransactionId};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::{DelayedTransmitBuild, TurnClientApi};
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{AddressFamily, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use super::frames::{Frames, NotTurn, pad};
use super::stun::time_since;

/// One allocation: made when the way to its server is open, refreshed for as long as it is wanted.
pub(super) struct Relay {
    client: TurnClient,
    /// None over UDP, where each datagram is a message. The client cuts streams by itself, but knows no padding.
    frames: Option<Frames>,
    born: Instant,
    relayed: Option<SocketAddr>,
    /// What waits for a permission to its peer.
    waiting: VecDeque<(SocketAddr, Bytes)>,
    /// How much has gone to each peer, until it has a channel.
    sent: HashMap<SocketAddr, u32>,
    /// Requests that went out lately: what answers none of them is not heeded.
    asked: VecDeque<TransactionId>,
    /// The server's last error, if it has not answered well since.
    last_error: Option<(u16, String)>,
    /// The request to which the server said which credentials it wants to see.
    challenged: Option<TransactionId>,
    timeout: Option<Instant>,
}

/// What a relay wants done.
#[derive(Default)]
pub(super) struct RelayOutput {
    /// To the server.
    pub(super) transmit: Vec<Bytes>,
    /// From peers.
    pub(super) received: Vec<(SocketAddr, Bytes)>,
    /// It has this address now.
    pub(super) allocated: Option<SocketAddr>,
    /// It has failed: the server's last word, if it had one.
    pub(super) failed: Option<(u16, String)>,
}

impl Relay {
    /// Ask for an allocation over this path.
    pub(super) fn new(
        now: Instant,
        local: SocketAddr,
        server: SocketAddr,
        over_udp: bool,
        username: &str,
        credential: &str,
    ) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(username, credential));
        // A relayed address of the server's own family is one that the server has for certain.
        config.set_address_family(if server.is_ipv4() {
            AddressFamily::IPV4
        } else {
            AddressFamily::IPV6
        });
        config.set_request_retransmits(FIRST_RETRANSMISSION, LAST_WAIT, RETRANSMISSIONS, LAST_WAIT);
        let client = match over_udp {
            true => TurnClient::Udp(TurnClientUdp::allocate(local, server, config)),
            false => TurnClient::Tcp(TurnClientTcp::allocate(local, server, config)),
        };
        Self {
            client,
            frames: (!over_udp).then(Frames::default),
            born: now,
            relayed: None,
            waiting: VecDeque::new(),
            sent: HashMap::new(),
            asked: VecDeque::new(),
            last_error: None,
            challenged: None,
            timeout: Some(now),
        }
    }

    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// Bytes from the server: a datagram, or a piece of a stream.
    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: &[u8], out: &mut RelayOutput) {
        let Some(frames) = &mut self.frames else { return self.hear(now, bytes, out) };
        frames.push(bytes);
        while let Some(frames) = &mut self.frames {
            match frames.pop() {
                Ok(Some(message)) => self.hear(now, &message, out),
                Ok(None) => break,
                Err(NotTurn) => {
                    out.failed = Some((701, "the server does not speak TURN".to_owned()));
                    break;
                }
            }
        }
    }

    /// A whole message from the server.
    fn hear(&mut self, now: Instant, bytes: &[u8], out: &mut RelayOutput) {
        self.note_answer(bytes, out);
        let transport = self.client.transport();
        let (from, to) = (self.client.remote_addr(), self.client.local_addr());
        let transmit = stun_proto::agent::Transmit::new(bytes, transport, from, to);
        let time = self.time(now);
        if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, time) {
            out.received.push((data.peer, Bytes::copy_from_slice(data.data())));
        }
        while let Some(data) = self.client.poll_recv(time) {
            out.received.push((data.peer, Bytes::copy_from_slice(data.data())));
        }
        self.drain(now, out);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut RelayOutput) {
        self.drain(now, out);
    }

    /// Relay to a peer; the permission for it is asked for when it is needed first.
    pub(super) fn send(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        contents: &[u8],
        out: &mut RelayOutput,
    ) {
        let time = self.time(now);
        if self.relayed.is_none() {
            return;
        }
        if self.client.have_permission(TransportType::Udp, peer.ip()) {
            self.pass_on(time, peer, contents, out);
        } else {
            if !self.waiting.iter().any(|(other, _)| other.ip() == peer.ip()) {
                _ = self.client.create_permission(TransportType::Udp, peer.ip(), time);
            }
            self.waiting.push_back((peer, Bytes::copy_from_slice(contents)));
            if self.waiting.len() > WAITING {
                self.waiting.pop_front();
            }
        }
        self.drain(now, out);
    }

    /// Give the allocation back.
    pub(super) fn close(&mut self, now: Instant, out: &mut RelayOutput) {
        _ = self.client.delete(self.time(now));
        // The client leaves a pause between requests, but there is no later for this one.
        self.drain(now + PAUSE, out);
    }

    fn pass_on(
        &mut self,
        time: stun_proto::Instant,
        peer: SocketAddr,
        contents: &[u8],
        out: &mut RelayOutput,
    ) {
        if let Ok(Some(transmit)) = self.client.send_to(TransportType::Udp, peer, contents, time) {
            let message = transmit.data.build();
            let message = if self.frames.is_some() { pad(message) } else { message };
            out.transmit.push(message.into());
        }
        if self.sent.len() < PEERS || self.sent.contains_key(&peer) {
            let sent = self.sent.entry(peer).or_default();
            *sent += 1;
            if *sent == CHANNEL_AFTER {
                _ = self.client.bind_channel(TransportType::Udp, peer, time);
            }
        }
    }

    fn drain(&mut self, now: Instant, out: &mut RelayOutput) {
        let time = self.time(now);
        for _ in 0..ROUNDS {
            while let Some(event) = self.client.poll_event() {
                self.handle_event(event, time, out);
            }
            let polled = self.client.poll(time);
            let mut said = false;
            while let Some(transmit) = self.client.poll_transmit(time) {
                self.note_request(&transmit.data);
                out.transmit.push(Bytes::copy_from_slice(&transmit.data));
                said = true;
            }
            match polled {
                TurnPollRet::WaitUntil(at) if at > time || !said => {
                    let wait = at.saturating_duration_since(time).max(SHORTEST_WAIT);
                    self.timeout = Some(now + wait);
                    if let Some(event) = self.client.poll_event() {
                        self.handle_event(event, time, out);
                        continue;
                    }
                    return;
                }
                TurnPollRet::Closed => {
                    self.timeout = None;
                    out.failed
                        .get_or_insert_with(|| self.last_error.clone().unwrap_or_else(unreachable));
                    return;
                }
                _ => {}
            }
        }
        self.timeout = Some(now + SHORTEST_WAIT);
    }

    fn handle_event(&mut self, event: TurnEvent, time: stun_proto::Instant, out: &mut RelayOutput) {
        match event {
            TurnEvent::AllocationCreated(_, relayed) => {
                self.relayed = Some(relayed);
                out.allocated = Some(relayed);
            }
            TurnEvent::AllocationCreateFailed(_) => {
                out.failed = Some(self.last_error.clone().unwrap_or_else(unreachable));
            }
            TurnEvent::PermissionCreated(_, ip) => {
                let (ready, waiting) = std::mem::take(&mut self.waiting)
                    .into_iter()
                    .partition(|(peer, _)| peer.ip() == ip);
                self.waiting = waiting;
                let ready: VecDeque<(SocketAddr, Bytes)> = ready;
                for (peer, contents) in ready {
                    self.pass_on(time, peer, &contents, out);
                }
            }
            TurnEvent::PermissionCreateFailed(_, ip) => {
                self.waiting.retain(|(peer, _)| peer.ip() != ip);
                self.check_server(out);
            }
            TurnEvent::ChannelCreateFailed(..) => self.check_server(out),
            _ => {}
        }
    }

    /// A request of an allocation's has failed. That the server refuses a peer says nothing of the others; that it does
    /// not answer, or does not know us any more, is the end: it is away, or has been restarted (437, RFC 8656 §5).
    fn check_server(&mut self, out: &mut RelayOutput) {
        match &self.last_error {
            None => out.failed = Some(unreachable()),
            Some((
                400 | UNAUTHORIZED | ALLOCATION_MISMATCH | STALE_NONCE | WRONG_CREDENTIALS,
                _,
            )) => {
                out.failed = self.last_error.clone();
            }
            Some(_) => {}
        }
    }

    /// Keep the server's last error: the client does not tell it.
    fn note_answer(&mut self, bytes: &[u8], out: &mut RelayOutput) {
        let Ok(message) = Message::from_bytes(bytes) else { return };
        let transaction = message.transaction_id();
        if !self.asked.contains(&transaction) {
            return;
        }
        match (message.class(), message.attribute::<ErrorCode>()) {
            (MessageClass::Error, Ok(error)) => {
                let said = (error.code(), error.reason().to_owned());
                // It has seen our credentials and asks for others (RFC 8489 §9.2.5). The client would go on asking with
                // the same ones until it is tired.
                let refused = said.0 == UNAUTHORIZED
                    && self.relayed.is_none()
                    && *self.challenged.get_or_insert(transaction) != transaction;
                if refused {
                    out.failed = Some(said.clone());
                }
                self.last_error = Some(said);
            }
            (MessageClass::Success, _) => self.last_error = None,
            _ => {}
        }
    }

    fn note_request(&mut self, bytes: &[u8]) {
        if let Ok(message) = Message::from_bytes(bytes)
            && message.class() == MessageClass::Request
            && !self.asked.contains(&message.transaction_id())
        {
            self.asked.push_back(message.transaction_id());
            if self.asked.len() > ASKED {
                self.asked.pop_front();
            }
        }
    }

    /// Why it is not there yet: what the server said last, but for its question who is there.
    pub(super) fn why(&self) -> (u16, String) {
        let last_error = self.last_error.clone().filter(|(code, _)| *code != UNAUTHORIZED);
        last_error.unwrap_or_else(unreachable)
    }

    fn time(&self, now: Instant) -> stun_proto::Instant {
        time_since(self.born, now)
    }
}

/// W3C: "the server could not be reached".
fn unreachable() -> (u16, String) {
    (701, "the TURN server does not answer".to_owned())
}

/// Of requests over UDP.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(4);
const RETRANSMISSIONS: u32 = 6;
/// Datagrams that wait for a permission: a check to each of a peer's candidates.
const WAITING: usize = 64;
/// Peers that are considered for a channel.
const PEERS: usize = 128;
/// A channel saves 36 bytes a datagram (RFC 8656 §12): worth it for who gets many.
const CHANNEL_AFTER: u32 = 8;
/// Turns of the client until others have theirs.
const ROUNDS: usize = 32;
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// RFC 8489 §14.8
const UNAUTHORIZED: u16 = 401;
/// RFC 8656 §19
const ALLOCATION_MISMATCH: u16 = 437;
const WRONG_CREDENTIALS: u16 = 441;
const STALE_NONCE: u16 = 438;
/// Requests whose answers are heeded: one to each peer, and repetitions.
const ASKED: usize = 128;
/// Longer than what the client leaves between requests, RFC 8445 §14.2's 50 ms.
const PAUSE: Duration = Duration::from_millis(100);
