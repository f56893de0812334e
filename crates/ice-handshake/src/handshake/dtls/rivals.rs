//! Engines that continue from the same beginning with different messages, because it is not known yet which messages
//! are the peer's.
//!
//! With a pre-shared key nothing is signed: before the first encrypted record, an attacker that can send in the peer's
//! name can send anything, and an engine that has accepted a forged message is lost. So each message that contradicts
//! another (it has the same number, and another content) gets an engine of its own, to which all other messages so far
//! are passed. Messages that cannot be told apart go to all engines, and the engine that completes the handshake had
//! the peer's. A forger gains nothing by being first.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::attempt::Progress;
use super::engine::{Drained, Engine, EngineSpec};
use super::provider::Shared;
use super::records::{Record, records};
use super::srtp::SrtpProfile;
use super::{Completed, DtlsCounters};

/// Engines that have begun alike.
pub(super) struct Rivals {
    spec: EngineSpec,
    shared: Arc<Shared>,
    born: Instant,
    attempts: Vec<RivalAttempt>,
    /// Datagrams received so far, for engines that join later.
    received: VecDeque<(Vec<Claim>, Bytes)>,
    hasher: RandomState,
    /// Number of engines made so far.
    forks: usize,
}

/// Engine, with the messages that it has accepted.
struct RivalAttempt {
    engine: Engine,
    believes: Vec<Claim>,
    timeout: Option<Instant>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<(Vec<u8>, SrtpProfile)>,
    /// Whether it has replied to what it has accepted.
    replied: bool,
}

/// Handshake message, or a fragment of one, that any sender could have sent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Claim {
    sequence: u16,
    offset: usize,
    content: u64,
}

impl Claim {
    fn contradicts(&self, other: &Self) -> bool {
        (self.sequence, self.offset) == (other.sequence, other.offset)
            && self.content != other.content
    }
}

impl Rivals {
    /// Creates one engine, to begin with. `shared` must keep its keys and signatures, so that others can begin as it
    /// did.
    pub(super) fn new(
        spec: EngineSpec,
        shared: Shared,
        born: Instant,
    ) -> Result<Self, dimpl::Error> {
        let (shared, hasher) = (Arc::new(shared), RandomState::new());
        let mut rivals = Self {
            spec,
            shared,
            born,
            attempts: Vec::new(),
            received: VecDeque::new(),
            hasher,
            forks: 0,
        };
        let first = rivals.attempt(Vec::new())?;
        rivals.attempts.push(first);
        Ok(rivals)
    }

    /// Returns the first engine's output before any input.
    pub(super) fn begin(&mut self) -> Progress {
        self.drain(0)
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let claims = self.claims(&datagram);
        let mut progress = Progress::default();
        let mut contradicted = Vec::new();
        for at in 0..self.attempts.len() {
            if progress.completed.is_some() {
                return progress;
            }
            let believes = &mut self.attempts[at].believes;
            if claims.iter().any(|claim| believes.iter().any(|known| known.contradicts(claim))) {
                contradicted.push(believes.clone());
                continue;
            }
            for claim in &claims {
                if !believes.contains(claim) && believes.len() < BELIEFS {
                    believes.push(*claim);
                }
            }
            progress.merge(self.feed(at, now, &datagram, counters));
        }
        for believes in contradicted {
            if progress.completed.is_none() {
                progress.merge(self.fork(now, believes, &claims, &datagram, counters));
            }
        }
        if progress.completed.is_none() && self.received.len() < RECEIVED {
            self.received.push_back((claims, datagram));
        }
        progress
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Progress {
        let mut progress = Progress::default();
        let mut at = 0;
        while at < self.attempts.len() {
            if self.attempts[at].timeout.is_some_and(|due| due <= now) {
                if let Err(error) = self.attempts[at].engine.handle_time(now) {
                    self.attempts.remove(at);
                    if self.attempts.is_empty() {
                        progress.failed = Some(error.to_string());
                    }
                    continue;
                }
                progress.merge(self.drain(at));
            }
            at += 1;
        }
        progress
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.attempts.iter().filter_map(|attempt| attempt.timeout).min()
    }

    fn attempt(&self, believes: Vec<Claim>) -> Result<RivalAttempt, dimpl::Error> {
        let engine = Engine::new(&self.spec, Arc::clone(&self.shared), None, self.born)?;
        Ok(RivalAttempt {
            engine,
            believes,
            timeout: None,
            peer_certificate: None,
            keys: None,
            replied: false,
        })
    }

    /// Adds an engine that accepts this datagram, and of another engine's messages all that come before it. Of the
    /// other datagrams received, it accepts the newest that fit, for a forger is first.
    fn fork(
        &mut self,
        now: Instant,
        mut believes: Vec<Claim>,
        claims: &[Claim],
        datagram: &Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let from = claims.iter().map(|claim| claim.sequence).min().unwrap_or_default();
        believes.retain(|known| known.sequence < from);
        believes.extend_from_slice(claims);
        if self
            .attempts
            .iter()
            .any(|attempt| believes.iter().all(|claim| attempt.believes.contains(claim)))
        {
            return Progress::default();
        }
        if self.forks >= FORKS {
            counters.hellos_refused += 1;
            return Progress::default();
        }
        self.forks += 1;
        if self.attempts.len() >= ATTEMPTS {
            // The oldest makes room, for a forger is first; but not one that has replied to what it accepted.
            counters.hellos_refused += 1;
            match self.attempts.iter().position(|attempt| !attempt.replied) {
                Some(oldest) => self.attempts.remove(oldest),
                None => return Progress::default(),
            };
        }
        counters.rival_hellos += 1;
        let mut replay = Vec::new();
        for (claims, earlier) in self.received.iter().rev() {
            if !claims.iter().any(|claim| believes.iter().any(|known| known.contradicts(claim))) {
                believes.extend(
                    claims
                        .iter()
                        .filter(|claim| !believes.contains(claim))
                        .copied()
                        .collect::<Vec<_>>(),
                );
                replay.push((claims.is_empty(), earlier.clone()));
            }
        }
        believes.truncate(BELIEFS);
        let Ok(attempt) = self.attempt(believes) else { return Progress::default() };
        self.attempts.push(attempt);
        let at = self.attempts.len() - 1;
        // The output to these is dropped: the other engines have sent it to the peer already.
        _ = self.drain(at);
        let plain = replay.iter().rev().filter(|(encrypted, _)| !encrypted);
        for (_, earlier) in plain {
            _ = self.feed(at, now, earlier, counters);
        }
        let mut progress = self.feed(at, now, datagram, counters);
        for (_, earlier) in replay.iter().rev().filter(|(encrypted, _)| *encrypted) {
            if progress.completed.is_none() {
                progress.merge(self.feed(at, now, earlier, counters));
            }
        }
        progress
    }

    fn claims(&self, datagram: &[u8]) -> Vec<Claim> {
        let messages = records(datagram).flat_map(Record::messages);
        messages
            .map(|message| Claim {
                sequence: message.sequence,
                offset: message.offset,
                content: self.hasher.hash_one((message.kind, message.length, message.body)),
            })
            .take(BELIEFS)
            .collect()
    }

    fn feed(
        &mut self,
        at: usize,
        now: Instant,
        datagram: &Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(attempt) = self.attempts.get_mut(at) else { return Progress::default() };
        if let Err(error) = attempt.engine.handle_datagram(now, datagram) {
            // Any sender may have sent it: only the handshake's deadline ends an attempt, not one bad record.
            counters.refused += 1;
            log::debug!("{}a record was refused: {error}", self.spec.label);
        }
        let progress = self.drain(at);
        if let Some(attempt) = self.attempts.get_mut(at) {
            attempt.replied |= !progress.packets.is_empty() && !attempt.believes.is_empty();
        }
        progress
    }

    fn drain(&mut self, at: usize) -> Progress {
        let Some(attempt) = self.attempts.get_mut(at) else { return Progress::default() };
        let Drained { packets, timeout, connected, peer_certificate, keys, payloads, closed } =
            attempt.engine.drain();
        attempt.timeout = timeout;
        attempt.peer_certificate = peer_certificate.or(attempt.peer_certificate.take());
        attempt.keys = keys.or(attempt.keys.take());
        let completed = connected.then(|| {
            let RivalAttempt { engine, peer_certificate, keys, .. } = self.attempts.swap_remove(at);
            self.attempts.clear();
            self.received.clear();
            Completed { engine, peer_certificate, keys, payloads }
        });
        Progress { packets, completed, failed: None, closed }
    }
}

/// Engines at once.
const ATTEMPTS: usize = 8;
/// Engines in all: each takes about as much work as half a handshake.
const FORKS: usize = 128;
/// Datagrams kept for engines that join later: a flight has six at most, and a forger may add some.
const RECEIVED: usize = 32;
/// Messages and fragments that an engine accepts in a handshake: a dozen, with a certificate chain some more.
const BELIEFS: usize = 64;
