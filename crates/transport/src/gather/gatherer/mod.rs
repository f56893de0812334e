//! Gatherer of one component's candidates. Sans-IO: it takes what arrives and the time, and returns what to send, what
//! to open, and the candidates that it has found.

mod relays;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::Candidate;

use self::relays::RelayEntry;
use super::relay::Relay;
use super::stun::{StunAnswer, StunQuery};
use super::{
    CandidateError, GathererOptions, GathererOutput, IceTransportPolicy, IceUrl, LocalCandidate,
    RelayId, ServerTransport, check_remote,
};
use crate::mux::Transmit;

/// Finder of the candidates of one component; it keeps the relays behind them.
pub struct Gatherer {
    options: GathererOptions,
    servers: Vec<Server>,
    requests: Vec<StunRequest>,
    relays: Vec<RelayEntry>,
    /// Candidates found, to be reported again after an ICE restart.
    found: Vec<LocalCandidate>,
    next_relay: u32,
    gathering: bool,
    output: VecDeque<GathererOutput>,
}

struct Server {
    url: IceUrl,
    username: String,
    credential: String,
    /// Until when its name is being looked up.
    resolving: Option<Instant>,
    /// Further addresses, tried when the one before has not answered; the last is the next.
    others: Vec<SocketAddr>,
}

/// Request to a STUN server about one of our addresses.
struct StunRequest {
    url: IceUrl,
    host: SocketAddr,
    server: SocketAddr,
    /// `None` while another connection may know the answer.
    query: Option<StunQuery>,
    deadline: Instant,
}

impl Gatherer {
    /// Creates a gatherer. It does nothing until [`gather`](Self::gather) is called.
    pub fn new(options: GathererOptions) -> Self {
        let servers = options
            .servers
            .iter()
            .flat_map(|server| {
                server.urls.iter().map(|url| Server {
                    url: url.clone(),
                    username: server.username.clone().unwrap_or_default(),
                    credential: server.credential.clone().unwrap_or_default(),
                    resolving: None,
                    others: Vec::new(),
                })
            })
            .collect();
        Self {
            options,
            servers,
            requests: Vec::new(),
            relays: Vec::new(),
            found: Vec::new(),
            next_relay: 0,
            gathering: false,
            output: VecDeque::new(),
        }
    }

    /// Starts gathering; or starts again after an ICE restart, with these host addresses. Relays are created anew; the
    /// old ones are kept for 30 s, for the traffic that still goes through them.
    pub fn gather(&mut self, now: Instant, hosts: Vec<SocketAddr>) {
        self.options.hosts = hosts;
        // Gathering cannot be complete before all servers are asked.
        self.gathering = false;
        self.drop_requests();
        self.found.clear();
        if self.options.policy == IceTransportPolicy::All {
            for host in self.options.hosts.clone() {
                if let Ok(candidate) = Candidate::host(host, "udp") {
                    self.find(LocalCandidate { candidate, url: None });
                }
            }
        }
        // Only its use shows whether a server still knows an allocation. So relays are created anew, and the old ones
        // stay for their traffic until another pair is selected.
        for id in self.relays.iter().map(|entry| entry.id).collect::<Vec<_>>() {
            let entry = self.relays.iter_mut().find(|entry| entry.id == id);
            match entry.filter(|entry| entry.candidate.is_some()) {
                Some(entry) => entry.retired = entry.retired.or(Some(now + RETIREMENT)),
                None => self.drop_relay(now, id),
            }
        }
        for at in 0..self.servers.len() {
            let url = &self.servers[at].url;
            let wanted = url.scheme.is_turn() || self.options.policy == IceTransportPolicy::All;
            if wanted {
                let patience = if url.scheme.is_turn() {
                    self.options.turn_timeout
                } else {
                    self.options.stun_timeout
                };
                let (host, port) = (url.host.clone(), url.port);
                self.servers[at].resolving = Some(now + patience);
                self.output.push_back(GathererOutput::Resolve { server: at, host, port });
            }
        }
        self.gathering = true;
        self.check_done();
    }

    /// Handles the result of looking a name up.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        server: usize,
        addresses: Result<Vec<SocketAddr>, String>,
    ) {
        let Some(entry) = self.servers.get_mut(server) else { return };
        if entry.resolving.take().is_none() {
            return;
        }
        let url = entry.url.clone();
        match addresses {
            Ok(addresses) if !addresses.is_empty() => match url.scheme.is_turn() {
                true => {
                    self.servers[server].others = addresses[1..].iter().rev().copied().collect();
                    self.open_relay(now, server, addresses[0], 0);
                }
                false => self.ask_all(now, &url, &addresses),
            },
            Ok(_) => {
                self.error(url, None, UNREACHABLE, "the server's name has no address".to_owned())
            }
            Err(error) => self.error(url, None, UNREACHABLE, error),
        }
        self.check_done();
    }

    /// Handles an answer of this server that another connection has received.
    pub fn handle_mapped(&mut self, host: SocketAddr, server: SocketAddr, mapped: SocketAddr) {
        let same = |request: &StunRequest| {
            request.host == host && request.server == server && request.query.is_none()
        };
        if let Some(at) = self.requests.iter().position(same) {
            let request = self.requests.swap_remove(at);
            self.found_reflexive(request.url, host, mapped);
            self.check_done();
        }
    }

    /// Asks the server, because no other connection knows the answer.
    pub fn ask(&mut self, now: Instant, host: SocketAddr, server: SocketAddr) {
        let patience = self.options.stun_timeout;
        let same = |request: &&mut StunRequest| request.host == host && request.server == server;
        if let Some(request) = self.requests.iter_mut().find(same)
            && request.query.is_none()
        {
            let (query, contents) = StunQuery::new(host, server, patience, now);
            request.query = Some(query);
            let transmit = Transmit { source: host, destination: server, contents };
            self.output.push_back(GathererOutput::Transmit(transmit));
        }
    }

    /// Handles a datagram that came through the mux from `source`; returns whether it was a STUN server's answer.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> bool {
        for at in 0..self.requests.len() {
            let request = &mut self.requests[at];
            let Some(query) = &mut request.query else { continue };
            let Some(answer) = query.handle_datagram(now, source, datagram) else { continue };
            let request = self.requests.swap_remove(at);
            self.answered(request, answer);
            self.check_done();
            return true;
        }
        false
    }

    /// Handles that the connection to a relay's server is open.
    pub fn handle_open(&mut self, now: Instant, relay: RelayId, local: SocketAddr) {
        let Some(entry) = self.relays.iter_mut().find(|entry| entry.id == relay) else { return };
        let Server { url, username, credential, .. } = &self.servers[entry.server];
        let over_udp = url.transport == ServerTransport::Udp;
        entry.local = Some(local);
        entry.relay = Some(Relay::new(now, local, entry.address, over_udp, username, credential));
        self.drive(now, relay, |relay, out| relay.handle_timeout(now, out));
    }

    /// Handles that the connection to a relay's server could not be opened, or is lost.
    pub fn handle_lost(&mut self, now: Instant, relay: RelayId, why: String) {
        self.relay_failed(now, relay, UNREACHABLE, why);
        self.check_done();
    }

    /// Handles bytes from a relay's server.
    pub fn handle_relay(&mut self, now: Instant, relay: RelayId, bytes: &[u8]) {
        self.drive(now, relay, |relay, out| relay.handle_bytes(now, bytes, out));
    }

    /// Returns whether this is the address of a relay.
    pub fn has_relay(&self, relayed: SocketAddr) -> bool {
        self.relays
            .iter()
            .any(|entry| entry.relay.as_ref().is_some_and(|relay| relay.relayed() == Some(relayed)))
    }

    /// Sends to a peer through the relay with this address; returns whether there is such a relay.
    pub fn send(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        contents: &[u8],
    ) -> bool {
        if check_remote(peer).is_err() {
            return false;
        }
        let of = |entry: &&RelayEntry| {
            entry.relay.as_ref().is_some_and(|relay| relay.relayed() == Some(relayed))
        };
        let Some(id) = self.relays.iter().find(of).map(|entry| entry.id) else { return false };
        self.drive(now, id, |relay, out| relay.send(now, peer, contents, out));
        true
    }

    /// Releases all allocations.
    pub fn close(&mut self, now: Instant) {
        for id in self.relays.iter().map(|entry| entry.id).collect::<Vec<_>>() {
            self.drop_relay(now, id);
        }
        self.drop_requests();
        self.gathering = false;
    }

    /// Handles the time-out that [`poll_timeout`](Self::poll_timeout) returned.
    pub fn handle_timeout(&mut self, now: Instant) {
        for at in 0..self.servers.len() {
            if self.servers[at].resolving.is_some_and(|due| due <= now) {
                self.servers[at].resolving = None;
                let url = self.servers[at].url.clone();
                self.error(
                    url,
                    None,
                    UNREACHABLE,
                    "the server's name could not be looked up in time".to_owned(),
                );
            }
        }
        let mut at = 0;
        while at < self.requests.len() {
            let request = &mut self.requests[at];
            let (packet, mut answer) =
                request.query.as_mut().map_or((None, None), |query| query.handle_timeout(now));
            if let Some(contents) = packet {
                let (source, destination) = (request.host, request.server);
                let transmit = Transmit { source, destination, contents };
                self.output.push_back(GathererOutput::Transmit(transmit));
            }
            if request.deadline <= now {
                answer = Some(StunAnswer::TimedOut);
            }
            match answer {
                Some(answer) => {
                    let request = self.requests.swap_remove(at);
                    self.answered(request, answer);
                }
                None => at += 1,
            }
        }
        for id in self.relays.iter().map(|entry| entry.id).collect::<Vec<_>>() {
            let Some(entry) = self.relays.iter_mut().find(|entry| entry.id == id) else { continue };
            if entry.retired.is_some_and(|due| due <= now) {
                self.drop_relay(now, id);
            } else if entry.deadline.is_some_and(|due| due <= now) {
                let (code, text) = entry.relay.as_ref().map_or_else(
                    || (UNREACHABLE, "the TURN server could not be reached in time".to_owned()),
                    Relay::why,
                );
                self.relay_failed(now, id, code, text);
            } else if entry.again.is_some_and(|due| due <= now) {
                let (server, address, attempts) = (entry.server, entry.address, entry.attempts);
                self.relays.retain(|entry| entry.id != id);
                self.open_relay(now, server, address, attempts);
            } else if entry
                .relay
                .as_ref()
                .and_then(Relay::poll_timeout)
                .is_some_and(|due| due <= now)
            {
                self.drive(now, id, |relay, out| relay.handle_timeout(now, out));
            }
        }
        self.check_done();
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let names = self.servers.iter().filter_map(|server| server.resolving).min();
        let requests = self
            .requests
            .iter_mut()
            .map(|request| {
                let query = request.query.as_mut().and_then(|query| query.poll_timeout(now));
                query.map_or(request.deadline, |query| query.min(request.deadline))
            })
            .min();
        let relays = self
            .relays
            .iter()
            .flat_map(|entry| {
                [
                    entry.deadline,
                    entry.again,
                    entry.retired,
                    entry.relay.as_ref().and_then(Relay::poll_timeout),
                ]
            })
            .flatten()
            .min();
        [names, requests, relays].into_iter().flatten().min()
    }

    /// Returns the next action for the driver.
    pub fn poll_output(&mut self) -> Option<GathererOutput> {
        let output = self.output.pop_front();
        if let Some(GathererOutput::Done) = output {
            self.found.shrink_to_fit();
            self.output.shrink_to_fit();
        }
        output
    }

    fn ask_all(&mut self, now: Instant, url: &IceUrl, servers: &[SocketAddr]) {
        let mut asked = false;
        for host in self.options.hosts.clone() {
            let family = |server: &&SocketAddr| server.is_ipv4() == host.is_ipv4();
            let Some(server) = servers.iter().find(family) else { continue };
            // A server on another machine never sees a loopback address.
            if host.ip().is_loopback() && !server.ip().is_loopback() {
                continue;
            }
            asked = true;
            let deadline = now + self.options.stun_timeout;
            let request =
                StunRequest { url: url.clone(), host, server: *server, query: None, deadline };
            self.requests.push(request);
            self.output.push_back(GathererOutput::LookUp { host, server: *server });
        }
        if !asked {
            self.error(
                url.clone(),
                None,
                UNREACHABLE,
                "no address of ours can reach the server".to_owned(),
            );
        }
    }

    /// Drops all requests; other connections that wait for one of our answers must ask for themselves.
    fn drop_requests(&mut self) {
        for StunRequest { host, server, query, .. } in self.requests.drain(..) {
            if query.is_some() {
                self.output.push_back(GathererOutput::Mapped { host, server, mapped: None });
            }
        }
    }

    fn answered(&mut self, request: StunRequest, answer: StunAnswer) {
        let StunRequest { url, host, server, query, .. } = request;
        let mapped = match &answer {
            StunAnswer::Mapped(mapped) => Some(*mapped),
            _ => None,
        };
        if query.is_some() {
            self.output.push_back(GathererOutput::Mapped { host, server, mapped });
        }
        match answer {
            StunAnswer::Mapped(mapped) => self.found_reflexive(url, host, mapped),
            StunAnswer::Refused(code, text) => self.error(url, Some(host), code, text),
            StunAnswer::TimedOut => {
                self.error(
                    url,
                    Some(host),
                    UNREACHABLE,
                    "the STUN server does not answer".to_owned(),
                );
            }
        }
    }

    fn found_reflexive(&mut self, url: IceUrl, host: SocketAddr, mapped: SocketAddr) {
        // Without a NAT in between, the answer is a host candidate that is known already (RFC 8445 §5.1.3).
        if self.options.hosts.contains(&mapped) {
            return;
        }
        if let Ok(candidate) = Candidate::server_reflexive(mapped, host, "udp") {
            self.find(LocalCandidate { candidate, url: Some(url) });
        }
    }

    fn find(&mut self, found: LocalCandidate) {
        let same = |known: &LocalCandidate| {
            let (known, new) = (&known.candidate, &found.candidate);
            known.kind() == new.kind() && known.addr() == new.addr() && known.local() == new.local()
        };
        if !self.found.iter().any(same) {
            self.found.push(found.clone());
            self.output.push_back(GathererOutput::Candidate(found));
        }
    }

    fn error(&mut self, url: IceUrl, address: Option<SocketAddr>, code: u16, text: String) {
        log::debug!("{}no candidate from {url}: {code} {text}", self.options.label);
        self.output.push_back(GathererOutput::CandidateError(CandidateError {
            url,
            address,
            code,
            text,
        }));
    }

    fn check_done(&mut self) {
        let busy = self.servers.iter().any(|server| server.resolving.is_some())
            || !self.requests.is_empty()
            || self.relays.iter().any(|entry| entry.deadline.is_some() && entry.attempts == 0);
        if self.gathering && !busy {
            self.gathering = false;
            self.output.push_back(GathererOutput::Done);
        }
    }
}

impl std::fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatherer")
            .field("gathering", &self.gathering)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

/// Code of W3C's "the server could not be reached".
const UNREACHABLE: u16 = 701;
/// Time for which a relay from before an ICE restart stays: as long as consent lasts (RFC 7675 §5.1).
const RETIREMENT: Duration = Duration::from_secs(30);
