//! Allocation on a TURN server (RFC 8656), over any transport.

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

use super::stun::time_since;
use super::turn_framing::{Frames, NotTurn, pad};

/// One allocation: requested when the connection to its server is open, refreshed for as long as it is wanted.
pub(super) struct Relay {
    client: TurnClient,
    /// `None` over UDP, where each datagram is a message. The TURN client splits streams by itself, but does not know
    /// padding.
    frames: Option<Frames>,
    born: Instant,
    relayed: Option<SocketAddr>,
    /// Datagrams that wait for a permission to their peer.
    waiting: VecDeque<(SocketAddr, Bytes)>,
    /// Datagrams sent to each peer, until it has a channel.
    sent: HashMap<SocketAddr, u32>,
    /// Recent requests: a response to none of them is ignored.
    asked: VecDeque<TransactionId>,
    /// Last error of the server, if no success has followed it.
    last_error: Option<(u16, String)>,
    /// Request that the server answered with a challenge for credentials.
    challenged: Option<TransactionId>,
    timeout: Option<Instant>,
}

/// Actions that a relay requests.
#[derive(Default)]
pub(super) struct RelayOutput {
    /// Messages for the server.
    pub(super) transmit: Vec<Bytes>,
    /// Datagrams from peers.
    pub(super) received: Vec<(SocketAddr, Bytes)>,
    /// Relayed address that was just allocated.
    pub(super) allocated: Option<SocketAddr>,
    /// The relay has failed: the last error of the server, if there was one.
    pub(super) failed: Option<(u16, String)>,
}

impl Relay {
    /// Requests an allocation over this path.
    pub(super) fn new(
        now: Instant,
        local: SocketAddr,
        server: SocketAddr,
        over_udp: bool,
        username: &str,
        credential: &str,
    ) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(username, credential));
        // A server is certain to have an address of the family by which it was reached.
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

    /// Handles bytes from the server: a datagram, or a piece of a stream.
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

    /// Handles a whole message from the server.
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

    /// Relays to a peer; the permission for that is requested when it is first needed.
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

    /// Releases the allocation.
    pub(super) fn close(&mut self, now: Instant, out: &mut RelayOutput) {
        _ = self.client.delete(self.time(now));
        // The TURN client leaves a pause between requests, but this one cannot wait.
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

    /// Handles that a request of an allocation has failed. If the server refuses one peer, that says nothing about the
    /// others; if it does not answer, or does not know the allocation any more, the allocation is lost: the server is
    /// unreachable, or has been restarted (437, RFC 8656 §5).
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

    /// Keeps the last error of the server: the TURN client does not report it.
    fn note_answer(&mut self, bytes: &[u8], out: &mut RelayOutput) {
        let Ok(message) = Message::from_bytes(bytes) else { return };
        let transaction = message.transaction_id();
        if !self.asked.contains(&transaction) {
            return;
        }
        match (message.class(), message.attribute::<ErrorCode>()) {
            (MessageClass::Error, Ok(error)) => {
                let said = (error.code(), error.reason().to_owned());
                // The server has seen our credentials and asks for others (RFC 8489 §9.2.5). The TURN client would go
                // on asking with the same ones until it gives up.
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

    /// Returns why there is no allocation yet: the last error of the server other than its challenge for credentials.
    pub(super) fn why(&self) -> (u16, String) {
        let last_error = self.last_error.clone().filter(|(code, _)| *code != UNAUTHORIZED);
        last_error.unwrap_or_else(unreachable)
    }

    fn time(&self, now: Instant) -> stun_proto::Instant {
        time_since(self.born, now)
    }
}

/// Returns W3C's "the server could not be reached".
fn unreachable() -> (u16, String) {
    (701, "the TURN server does not answer".to_owned())
}

/// Retransmission of requests over UDP: the first time-out, the last wait, and the number of retransmissions.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(4);
const RETRANSMISSIONS: u32 = 6;
/// Datagrams that wait for a permission: a check to each of a peer's candidates.
const WAITING: usize = 64;
/// Peers whose datagrams are counted, for a channel.
const PEERS: usize = 128;
/// Datagrams to a peer after which it gets a channel. A channel saves 36 bytes a datagram (RFC 8656 §12), which pays
/// off with many datagrams.
const CHANNEL_AFTER: u32 = 8;
/// Steps of the TURN client in a row until other tasks get their turn.
const ROUNDS: usize = 32;
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Error code (RFC 8489 §14.8).
const UNAUTHORIZED: u16 = 401;
/// Error code (RFC 8656 §19).
const ALLOCATION_MISMATCH: u16 = 437;
const WRONG_CREDENTIALS: u16 = 441;
const STALE_NONCE: u16 = 438;
/// Requests whose responses are accepted: one to each peer, and repetitions.
const ASKED: usize = 128;
/// Time in advance, longer than the pause that the TURN client leaves between requests (RFC 8445 §14.2's 50 ms).
const PAUSE: Duration = Duration::from_millis(100);
