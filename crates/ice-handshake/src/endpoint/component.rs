//! State machine of one ICE component. No I/O, no clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_supervision::Core;
use callboard_transport::mux::{PacketClass, Transmit};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState};
use str0m::net::Protocol;

use super::{
    ComponentError, Credentials, EndpointOptions, SendPayloadError, SetRemoteCandidateError,
};
use crate::handshake::{Session, SessionOutput};

/// Action that a component requests of its driver.
#[derive(Debug)]
pub(super) enum ComponentOutput {
    /// Send this datagram.
    Transmit(Transmit<Bytes>),
    /// The peer has proved that it owns this address.
    Validate(SocketAddr),
    /// Pass this datagram to the handshake.
    Handshake(Bytes),
    /// A pair was selected; with its round-trip time, if known.
    Selected {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// The first pair was selected: the handshake can begin. With the pair's round-trip time, if known.
    Ready(Option<Duration>),
    Disconnected,
    Reconnected,
    Payload(Bytes),
    /// The peer has closed the session.
    Closed,
    Failed(ComponentError),
}

/// State machine of one ICE component.
pub(super) struct Component {
    agent: IceAgent,
    /// Candidates of a peer whose credentials have not come yet.
    early: Vec<Candidate>,
    remote_candidates: usize,
    selected: Option<(SocketAddr, SocketAddr)>,
    /// Addresses that the peer has proved to own.
    validated: Vec<SocketAddr>,
    phase: Phase,
    /// Time by which the component must be connected; below it, the time since when it tries.
    connect_by: Option<Instant>,
    connecting_since: Option<Instant>,
    /// Whether all candidates of this side are known; below it, those of the peer.
    all_local: bool,
    all_remote: bool,
    disconnected_since: Option<Instant>,
    failed: bool,
    connect_timeout: Duration,
    consent_timeout: Duration,
    output: VecDeque<ComponentOutput>,
}

enum Phase {
    /// Datagrams go to the handshake.
    Handshake,
    /// Datagrams go to the session.
    Session(Box<dyn Session>),
    /// Datagrams are dropped.
    Over,
}

impl Core for Component {
    type Output = ComponentOutput;

    fn poll_output(&mut self) -> Option<ComponentOutput> {
        self.output.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let session = match &self.phase {
            Phase::Session(session) => session.poll_timeout(),
            _ => None,
        };
        let consent = self
            .disconnected_since
            .filter(|_| !self.failed)
            .map(|since| since + self.consent_timeout);
        [self.agent.poll_timeout(), self.connect_by, consent, session].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        if self.connect_by.is_some_and(|due| due <= now) {
            self.connect_by = None;
            self.fail(ComponentError::NotConnected(self.connect_timeout));
        }
        if !self.failed
            && self.disconnected_since.is_some_and(|since| since + self.consent_timeout <= now)
        {
            self.fail(ComponentError::ConsentExpired(self.consent_timeout));
        }
        if let Phase::Session(session) = &mut self.phase
            && session.poll_timeout().is_some_and(|due| due <= now)
        {
            let mut out = SessionOutput::default();
            session.handle_timeout(now, &mut out);
            self.carry_out(out);
        }
        self.drain(now);
    }
}

impl Component {
    pub(super) fn new(options: &EndpointOptions, credentials: &Credentials) -> Self {
        let provider = str0m::crypto::from_feature_flags().sha1_hmac_provider;
        let mut agent = IceAgent::with_hmac(credentials.to_creds(), provider);
        agent.set_controlling(options.controlling);
        agent.set_ice_lite(options.ice_lite);
        agent.set_max_candidate_pairs(PAIRS);
        set_pace(&mut agent, CONNECTING);
        Self {
            agent,
            early: Vec::new(),
            remote_candidates: 0,
            selected: None,
            validated: Vec::new(),
            phase: Phase::Handshake,
            connect_by: None,
            connecting_since: None,
            all_local: false,
            all_remote: false,
            disconnected_since: None,
            failed: false,
            connect_timeout: options.connect_timeout,
            consent_timeout: options.consent_timeout,
            output: VecDeque::new(),
        }
    }

    pub(super) fn set_remote_credentials(&mut self, now: Instant, credentials: &Credentials) {
        self.agent.set_remote_credentials(credentials.to_creds());
        if self.selected.is_none() || self.failed || self.disconnected_since.is_some() {
            self.connect_by = Some(now + self.connect_timeout);
            self.connecting_since = Some(now);
        }
        for candidate in std::mem::take(&mut self.early) {
            self.agent.add_remote_candidate(candidate);
        }
        self.handle_timeout(now);
    }

    pub(super) fn remote_credentials(&self) -> Option<Credentials> {
        let creds = self.agent.remote_credentials()?;
        Some(Credentials { ufrag: creds.ufrag.clone(), password: creds.pass.clone() })
    }

    pub(super) fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: Candidate,
    ) -> Result<(), SetRemoteCandidateError> {
        if self.remote_candidates >= REMOTE_CANDIDATES {
            return Err(SetRemoteCandidateError::TooMany);
        }
        self.remote_candidates += 1;
        match self.agent.remote_credentials() {
            // This candidate usually belongs to credentials that are yet to come.
            None => self.early.push(candidate),
            Some(creds) if candidate.ufrag().is_some_and(|ufrag| ufrag != creds.ufrag) => {
                self.early.push(candidate)
            }
            Some(_) => {
                self.agent.add_remote_candidate(candidate);
                self.handle_timeout(now);
            }
        }
        Ok(())
    }

    /// Adds a candidate of this side; returns it in the form for the peer, if it is for the peer.
    pub(super) fn add_local_candidate(
        &mut self,
        now: Instant,
        candidate: Candidate,
    ) -> Option<Candidate> {
        let added = self.agent.add_local_candidate(candidate).cloned();
        self.handle_timeout(now);
        added
    }

    /// Notes that all candidates of this side are known.
    pub(super) fn gathered(&mut self, now: Instant) {
        self.all_local = true;
        self.give_up_early(now);
    }

    /// Notes that the peer has no more candidates.
    pub(super) fn remote_candidates_done(&mut self, now: Instant) {
        self.all_remote = true;
        self.give_up_early(now);
    }

    /// Fails the component without waiting for its time-out, if no candidate is to come and no pair is left that could
    /// work.
    fn give_up_early(&mut self, now: Instant) {
        let hopeless = self.agent.state().is_disconnected() && self.selected.is_none();
        if let (true, true, true, Some(since)) =
            (hopeless, self.all_local, self.all_remote, self.connecting_since)
        {
            self.connect_by = None;
            self.fail(ComponentError::NotConnected(now.saturating_duration_since(since)));
        }
    }

    pub(super) fn remove_local_candidate(&mut self, now: Instant, candidate: &Candidate) {
        self.agent.invalidate_candidate(candidate);
        self.handle_timeout(now);
    }

    /// Restarts ICE with these credentials; candidates must be added again. The selected pair stays until another is
    /// selected.
    pub(super) fn restart(&mut self, now: Instant, credentials: &Credentials) {
        self.agent.ice_restart(credentials.to_creds(), false);
        set_pace(&mut self.agent, CONNECTING);
        self.remote_candidates = 0;
        (self.all_local, self.all_remote) = (false, false);
        self.failed = false;
        self.connect_by = None;
        if let Some(since) = &mut self.disconnected_since {
            *since = now;
        }
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        class: PacketClass,
        contents: Bytes,
    ) {
        if class == PacketClass::Stun {
            let Ok(message) = StunMessage::parse(&contents) else { return };
            let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
            self.agent.handle_packet(now, packet);
            self.agent.handle_timeout(now);
            return self.drain(now);
        }
        // The mux has checked this for its own sockets; a relay has not.
        if !self.validated.contains(&source) {
            return;
        }
        match &mut self.phase {
            Phase::Handshake => self.output.push_back(ComponentOutput::Handshake(contents)),
            Phase::Session(session) => {
                let mut out = SessionOutput::default();
                session.receive(now, contents, &mut out);
                self.carry_out(out);
            }
            Phase::Over => {}
        }
    }

    /// Sends packets of the handshake.
    pub(super) fn transmit(&mut self, packets: Vec<Bytes>) {
        let Some((source, destination)) = self.selected else { return };
        for contents in packets {
            let transmit = Transmit { source, destination, contents };
            self.output.push_back(ComponentOutput::Transmit(transmit));
        }
    }

    /// Completes the handshake: the session goes on with the datagrams that came after it.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        session: Box<dyn Session>,
        behind: impl IntoIterator<Item = Bytes>,
    ) {
        let Phase::Session(session) = ({
            self.phase = Phase::Session(session);
            &mut self.phase
        }) else {
            return;
        };
        let mut out = SessionOutput::default();
        session.handle_timeout(now, &mut out);
        for datagram in behind {
            session.receive(now, datagram, &mut out);
        }
        self.carry_out(out);
    }

    /// Ends the component, because its handshake has failed or was closed.
    pub(super) fn give_up(&mut self, error: Option<ComponentError>) {
        self.phase = Phase::Over;
        self.connect_by = None;
        match error {
            Some(error) => self.fail(error),
            None => self.output.push_back(ComponentOutput::Closed),
        }
    }

    pub(super) fn send(&mut self, now: Instant, payload: &[u8]) -> Result<(), SendPayloadError> {
        let Phase::Session(session) = &mut self.phase else {
            return Err(SendPayloadError::NotReady);
        };
        if self.disconnected_since.is_some() {
            return Err(SendPayloadError::Disconnected);
        }
        let mut out = SessionOutput::default();
        session.send(now, payload, &mut out);
        let dropped = out.dropped > 0;
        self.carry_out(out);
        if dropped { Err(SendPayloadError::Dropped) } else { Ok(()) }
    }

    pub(super) fn close(&mut self) {
        if let Phase::Session(mut session) = std::mem::replace(&mut self.phase, Phase::Over) {
            let mut out = SessionOutput::default();
            session.close(&mut out);
            self.carry_out(SessionOutput { closed: false, ..out });
        }
    }

    fn carry_out(&mut self, out: SessionOutput) {
        let SessionOutput { transmit, payloads, closed, .. } = out;
        self.transmit(transmit);
        self.output.extend(payloads.into_iter().map(ComponentOutput::Payload));
        if closed {
            self.give_up(None);
        }
    }

    fn fail(&mut self, error: ComponentError) {
        if !std::mem::replace(&mut self.failed, true) {
            self.output.push_back(ComponentOutput::Failed(error));
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                IceAgentEvent::DiscoveredRecv { source, .. } => {
                    self.validated.retain(|known| *known != source);
                    self.validated.push(source);
                    if self.validated.len() > VALIDATED {
                        self.validated.remove(0);
                    }
                    self.output.push_back(ComponentOutput::Validate(source));
                }
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    self.select(source, destination)
                }
                IceAgentEvent::IceConnectionStateChange(state) => self.state_changed(now, state),
                IceAgentEvent::IceRestart(_) => {}
            }
        }
        while let Some(transmit) = self.agent.poll_transmit() {
            let contents = Bytes::copy_from_slice(&transmit.contents);
            let (source, destination) = (transmit.source, transmit.destination);
            let transmit = Transmit { source, destination, contents };
            self.output.push_back(ComponentOutput::Transmit(transmit));
        }
    }

    fn select(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.connect_by = None;
        let first = self.selected.is_none();
        if self.selected.replace((local, remote)) != Some((local, remote)) {
            // The selected address must not be dropped from the list.
            self.output.push_back(ComponentOutput::Validate(remote));
            self.output.push_back(ComponentOutput::Selected { local, remote });
        }
        if first {
            self.output.push_back(ComponentOutput::Ready(self.agent.nominated_pair_rtt()));
        }
    }

    fn state_changed(&mut self, now: Instant, state: IceConnectionState) {
        set_pace(&mut self.agent, if state.is_connected() { CONNECTED } else { CONNECTING });
        if state.is_connected() {
            self.failed = false;
            self.connect_by = None;
            if self.disconnected_since.take().is_some() {
                self.output.push_back(ComponentOutput::Reconnected);
            }
        } else if state.is_disconnected()
            && self.selected.is_some()
            && self.disconnected_since.is_none()
        {
            self.disconnected_since = Some(now);
            self.output.push_back(ComponentOutput::Disconnected);
        }
        self.give_up_early(now);
    }
}

/// Longest interval between the checks of a pair, and the number of unanswered checks after which the pair has failed.
type Pace = (Duration, usize);

fn set_pace(agent: &mut IceAgent, (longest_interval, unanswered): Pace) {
    agent.set_max_stun_rto(longest_interval);
    agent.set_max_stun_retransmits(unanswered);
}

/// Pace of checks before the component is connected. Where a third of all datagrams is lost, half of the checks are: an
/// interval that doubles up to seconds costs the handshake its deadline. Browsers check new pairs ten times as often. A
/// pair is given up after 15 s.
const CONNECTING: Pace = (Duration::from_millis(500), 30);
/// Pace of checks once it is connected. A peer that is gone is noticed after 15 s, rather than after `is`'s 24.
const CONNECTED: Pace = (Duration::from_secs(2), 7);
/// Most pairs of one component: RFC 8445 §6.1.2.5 recommends 100.
const PAIRS: usize = 100;
/// Most remote candidates of one component; a peer that names more is not just trying to connect.
const REMOTE_CANDIDATES: usize = 64;
/// Most validated addresses: as many as the mux keeps.
const VALIDATED: usize = 32;
