//! Relays of a gatherer: opened, driven, lost, retried.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::Candidate;

use super::super::relay::{Relay, RelayOutput};
use super::super::{GathererOutput, LocalCandidate, RelayId, RelayTransport, ServerTransport};
use super::Gatherer;

/// Relay, or the attempt to get one.
pub(super) struct RelayEntry {
    pub(super) id: RelayId,
    pub(super) server: usize,
    pub(super) address: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) relay: Option<Relay>,
    pub(super) candidate: Option<Candidate>,
    /// Time by which it must be allocated; `None` once it is.
    pub(super) deadline: Option<Instant>,
    /// Time at which a lost relay is tried again.
    pub(super) again: Option<Instant>,
    pub(super) attempts: u32,
    /// Time at which a relay from before an ICE restart is closed.
    pub(super) retired: Option<Instant>,
}

impl Gatherer {
    pub(super) fn open_relay(
        &mut self,
        now: Instant,
        server: usize,
        address: SocketAddr,
        attempts: u32,
    ) {
        let id = RelayId(self.next_relay);
        self.next_relay += 1;
        let url = &self.servers[server].url;
        let transport = match url.transport {
            _ if url.scheme.is_secure() => RelayTransport::Tls(url.host.clone()),
            ServerTransport::Udp => RelayTransport::Udp,
            ServerTransport::Tcp => RelayTransport::Tcp,
        };
        let deadline = Some(now + self.options.turn_timeout);
        let (local, relay, candidate) = (None, None, None);
        self.relays.push(RelayEntry {
            id,
            server,
            address,
            local,
            relay,
            candidate,
            deadline,
            again: None,
            attempts,
            retired: None,
        });
        self.output.push_back(GathererOutput::Open { relay: id, transport, server: address });
    }

    /// Lets a relay do something, and carries out its outputs.
    pub(super) fn drive(
        &mut self,
        now: Instant,
        id: RelayId,
        call: impl FnOnce(&mut Relay, &mut RelayOutput),
    ) {
        let Some(entry) = self.relays.iter_mut().find(|entry| entry.id == id) else { return };
        let Some(relay) = &mut entry.relay else { return };
        let mut out = RelayOutput::default();
        call(relay, &mut out);
        let RelayOutput { transmit, received, allocated, failed } = out;
        let destination = relay.relayed();
        for contents in transmit {
            self.output.push_back(GathererOutput::TransmitToRelay { relay: id, contents });
        }
        if let Some(destination) = destination {
            for (source, contents) in received {
                self.output.push_back(GathererOutput::Received { source, destination, contents });
            }
        }
        if let Some(relayed) = allocated {
            (entry.deadline, entry.attempts) = (None, 0);
            let base = entry.local.unwrap_or(relayed);
            if let Ok(candidate) = Candidate::relayed(relayed, base, "udp") {
                entry.candidate = Some(candidate.clone());
                let url = Some(self.servers[entry.server].url.clone());
                self.find(LocalCandidate { candidate, url });
            }
        }
        if let Some((code, text)) = failed {
            self.relay_failed(now, id, code, text);
        }
        self.check_done();
    }

    /// Handles a relay's failure. One that was never allocated is reported as an error; one that was is reported lost,
    /// and tried again.
    pub(super) fn relay_failed(&mut self, now: Instant, id: RelayId, code: u16, text: String) {
        let Some(entry) = self.relays.iter_mut().find(|entry| entry.id == id) else { return };
        let had_way = entry.again.is_none();
        entry.local = None;
        let was = entry.candidate.take();
        let retrying = was.is_some() || entry.attempts > 0;
        let url = self.servers[entry.server].url.clone();
        entry.relay = None;
        entry.deadline = None;
        // A server that refuses the first request will refuse later ones.
        let refused = was.is_none() && matches!(code, 400..=403 | 441);
        let first = was.is_none() && !retrying && !refused && entry.retired.is_none();
        let server = entry.server;
        if first && let Some(other) = self.servers[server].others.pop() {
            let label = &self.options.label;
            log::debug!(
                "{label}{url} cannot be reached at one of its addresses ({text}); trying the next"
            );
            self.relays.retain(|entry| entry.id != id);
            self.output.push_back(GathererOutput::Close { relay: id });
            return self.open_relay(now, server, other, 0);
        }
        if retrying && !refused && entry.retired.is_none() {
            entry.again = Some(now + BACKOFF_FIRST.saturating_mul(1 << entry.attempts.min(5)));
            entry.attempts += 1;
            // Later events of the old connection are not about the next one.
            entry.id = RelayId(self.next_relay);
            self.next_relay += 1;
        } else {
            self.relays.retain(|entry| entry.id != id);
        }
        if had_way {
            self.output.push_back(GathererOutput::Close { relay: id });
        }
        match was {
            Some(candidate) => {
                self.found.retain(|found| found.candidate != candidate);
                let label = &self.options.label;
                log::info!("{label}the relay {} is lost: {code} {text}", candidate.addr());
                self.output.push_back(GathererOutput::CandidateLost(candidate));
            }
            None => self.error(url, None, code, text),
        }
    }

    pub(super) fn drop_relay(&mut self, now: Instant, id: RelayId) {
        self.drive(now, id, |relay, out| relay.close(now, out));
        let Some(at) = self.relays.iter().position(|entry| entry.id == id) else { return };
        let entry = self.relays.remove(at);
        if entry.again.is_none() {
            self.output.push_back(GathererOutput::Close { relay: id });
        }
        if let Some(candidate) = entry.candidate {
            self.found.retain(|found| found.candidate != candidate);
            self.output.push_back(GathererOutput::CandidateLost(candidate));
        }
    }
}

/// Pause before a lost relay is tried again; it doubles, up to 32 times.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
