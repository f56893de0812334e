//! One engine with its output so far, and the result of a call to a side of a handshake.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::engine::{Drained, Engine, EngineSpec};
use super::provider::Shared;
use super::srtp::{SrtpProfile, Substitution};
use super::{Completed, DtlsCounters};
use crate::Label;

/// Engine with its output so far.
pub(super) struct Attempt {
    engine: Engine,
    timeout: Option<Instant>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<(Vec<u8>, SrtpProfile)>,
    connected: bool,
    payloads: Vec<Bytes>,
    label: Label,
}

impl Attempt {
    pub(super) fn new(
        spec: &EngineSpec,
        shared: Arc<Shared>,
        substitution: Option<Substitution>,
        born: Instant,
    ) -> Result<Self, dimpl::Error> {
        Ok(Self {
            engine: Engine::new(spec, shared, substitution, born)?,
            timeout: None,
            peer_certificate: None,
            keys: None,
            connected: false,
            payloads: Vec::new(),
            label: spec.label.clone(),
        })
    }

    /// Passes a datagram to the engine; returns its output. A datagram that the engine refuses is counted: only the
    /// handshake's deadline ends an attempt, not one bad record.
    pub(super) fn feed(
        &mut self,
        now: Instant,
        datagram: &[u8],
        counters: &mut DtlsCounters,
    ) -> Progress {
        if let Err(error) = self.engine.handle_datagram(now, datagram) {
            counters.refused += 1;
            log::debug!("{}a record was refused: {error}", self.label);
        }
        self.drain()
    }

    /// Handles the engine's time-out, if it is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Progress {
        if self.timeout.is_none_or(|due| due > now) {
            return Progress::default();
        }
        match self.engine.handle_time(now) {
            Ok(()) => self.drain(),
            Err(error) => {
                self.timeout = None;
                Progress { failed: Some(error.to_string()), ..Progress::default() }
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// Takes all output of the engine.
    pub(super) fn drain(&mut self) -> Progress {
        let Drained { packets, timeout, connected, peer_certificate, keys, payloads, closed } =
            self.engine.drain();
        self.timeout = timeout;
        self.peer_certificate = peer_certificate.or(self.peer_certificate.take());
        self.keys = keys.or(self.keys.take());
        self.connected |= connected;
        self.payloads.extend(payloads);
        Progress { packets, closed, ..Progress::default() }
    }

    /// Returns whether the handshake is complete: [`complete`](Self::complete) comes next.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Returns whether the engine has opened a record of DTLS 1.3, which only the peer can have sealed.
    pub(super) fn opened(&self) -> bool {
        self.engine.opened()
    }

    pub(super) fn complete(self) -> Completed {
        let Self { engine, peer_certificate, keys, payloads, .. } = self;
        Completed { engine, peer_certificate, keys, payloads }
    }
}

/// Result of a call to a side of a handshake.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) packets: Vec<Bytes>,
    pub(super) completed: Option<Completed>,
    /// Every engine has given up: the reason of the last one.
    pub(super) failed: Option<String>,
    pub(super) closed: bool,
}

impl Progress {
    pub(super) fn merge(&mut self, other: Self) {
        self.packets.extend(other.packets);
        self.completed = self.completed.take().or(other.completed);
        self.failed = other.failed.or(self.failed.take());
        self.closed |= other.closed;
    }
}
