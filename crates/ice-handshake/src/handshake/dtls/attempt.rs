//! One engine with what it has said so far, and what a call to a side of a handshake leads to.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::engine::{Drained, Engine, EngineSpec};
use super::provider::Shared;
use super::srtp::{SrtpProfile, Substitution};
use super::{Completed, DtlsCounters};
use crate::Label;

/// An engine, with what it said on the way.
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

    /// Tells the engine a datagram; returns what it says to it. What it refuses is counted: it is the handshake's deadline
    /// that ends an attempt, not one bad record.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        datagram: &[u8],
        counters: &mut DtlsCounters,
    ) -> Progress {
        if let Err(error) = self.engine.hear(now, datagram) {
            counters.refused += 1;
            log::debug!("{}a record was refused: {error}", self.label);
        }
        self.drain()
    }

    /// Lets the engine's time pass, if it is due.
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

    /// Everything it has to say.
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

    /// Whether the handshake is complete: [`complete`](Self::complete) is the next thing to do.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it has opened a record of DTLS 1.3, which only the peer can have sealed.
    pub(super) fn opened(&self) -> bool {
        self.engine.opened()
    }

    pub(super) fn complete(self) -> Completed {
        let Self { engine, peer_certificate, keys, payloads, .. } = self;
        Completed { engine, peer_certificate, keys, payloads }
    }
}

/// What a call has led to.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) packets: Vec<Bytes>,
    pub(super) completed: Option<Completed>,
    /// Every engine has given up: the last one's reason.
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
