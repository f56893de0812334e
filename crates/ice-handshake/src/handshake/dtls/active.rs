//! The active side: it sends the ClientHello, and whoever can send in the peer's name may answer first.
//!
//! Nobody can tell a forged ServerHello from the real one before the key exchange. So each that differs gets an engine
//! of its own, which goes on from the very ClientHello that was sent; all other records go to all engines, and the
//! one that the real peer completes wins. A forger gains nothing by being first.
//!
//! A request for another ClientHello (with a cookie, say) is different: to heed a forged one would put the peer itself
//! out of step. It is held back for a round trip, and forgotten when a ServerHello comes meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Role;
use super::engine::{Drained, Engine, EngineSpec};
use super::provider::Shared;
use super::records::{Message, Record, records};
use super::srtp::Substitution;
use super::{Completed, DtlsCounters};

/// The engines of one active side.
pub(crate) struct Active {
    spec: EngineSpec,
    substitution: Option<Substitution>,
    attempts: Vec<Attempt>,
    /// What has come so far, for engines that join later.
    heard: VecDeque<Bytes>,
    /// When to begin afresh, with another ClientHello.
    afresh: Option<Instant>,
    /// Requests for another ClientHello, and how long they are held back.
    held: Vec<Bytes>,
    held_until: Option<Instant>,
    patience: Duration,
    /// Records without encryption that went out so far, of all engines.
    sent: u64,
}

/// An engine, with the server's hellos that it has heard.
struct Attempt {
    engine: Engine,
    origin: Origin,
    /// By message sequence number: at most a HelloVerifyRequest (or HelloRetryRequest) and a ServerHello.
    hellos: Vec<(u16, Vec<u8>)>,
    timeout: Option<Instant>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<(Vec<u8>, super::SrtpProfile)>,
}

/// What makes the same ClientHello again.
#[derive(Clone)]
struct Origin {
    shared: Arc<Shared>,
    seed: u64,
    born: Instant,
}

/// What a call has led to.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) packets: Vec<Bytes>,
    pub(crate) completed: Option<Completed>,
    pub(crate) failed: Option<String>,
    pub(crate) closed: bool,
}

impl Active {
    pub(crate) fn new(spec: EngineSpec, substitution: Option<Substitution>) -> Self {
        let (attempts, heard, held) = (Vec::new(), VecDeque::new(), Vec::new());
        Self {
            spec,
            substitution,
            attempts,
            heard,
            afresh: None,
            held,
            held_until: None,
            patience: UNKNOWN_PATH,
            sent: 0,
        }
    }

    pub(crate) fn set_round_trip_time(&mut self, time: Duration) {
        self.patience = (time * 3 / 2 + JITTER).min(LONGEST_PATH);
    }

    /// Send the ClientHello.
    pub(crate) fn begin(&mut self, now: Instant, seed: u64) -> Progress {
        let origin = Origin { shared: Arc::new(Shared::keeping_keys()), seed, born: now };
        let first = self.attempts.is_empty();
        self.afresh = first.then(|| now + STALLED);
        self.held_until = first.then(|| now + self.patience);
        self.held.clear();
        match self.engine(&origin) {
            Ok(engine) => {
                self.attempts.push(Attempt::new(engine, origin));
                let last = self.attempts.len() - 1;
                self.drain(last)
            }
            Err(error) => Progress { failed: Some(error.to_string()), ..Progress::default() },
        }
    }

    pub(crate) fn hear(
        &mut self,
        now: Instant,
        datagram: &[u8],
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(datagram) = only_fitting(datagram, Role::Client, counters) else {
            return Progress::default();
        };
        let requests =
            records(&datagram).flat_map(Record::messages).any(|message| message.is_request());
        if requests && self.held_until.is_some() {
            if self.held.len() < HELD {
                self.held.push(datagram);
            } else {
                counters.hellos_refused += 1;
            }
            return Progress::default();
        }
        self.tell_of_datagram(now, datagram, counters)
    }

    fn tell_of_datagram(
        &mut self,
        now: Instant,
        datagram: Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let hello = first_hello(&datagram);
        let mut progress = Progress::default();
        match hello {
            None => self.tell_all(now, &datagram, counters, &mut progress),
            Some((sequence, hello)) => {
                self.tell_of_hello(now, sequence, &hello, &datagram, counters, &mut progress)
            }
        }
        if self.heard.len() < HEARD {
            self.heard.push_back(datagram);
        }
        progress
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        seed: impl FnOnce() -> u64,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let mut progress = Progress::default();
        if self.held_until.is_some_and(|due| due <= now) && !self.is_answered() {
            self.held_until = None;
            for datagram in std::mem::take(&mut self.held) {
                progress.merge(self.tell_of_datagram(now, datagram, counters));
            }
        }
        let mut ended = Vec::new();
        for at in 0..self.attempts.len() {
            if self.attempts[at].timeout.is_none_or(|due| due > now) {
                continue;
            }
            match self.attempts[at].engine.handle_time(now) {
                Ok(()) => progress.merge(self.drain(at)),
                Err(error) => ended.push((at, error.to_string())),
            }
        }
        for (at, error) in ended.into_iter().rev() {
            self.attempts.remove(at);
            if self.attempts.is_empty() {
                progress.failed = Some(error);
            }
        }
        if self.afresh.is_some_and(|due| due <= now) && progress.completed.is_none() {
            progress.failed = None;
            progress.merge(self.begin(now, seed()));
        }
        progress
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let held_until = self.held_until.filter(|_| !self.held.is_empty() && !self.is_answered());
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.timeout)
            .chain(self.afresh)
            .chain(held_until)
            .min()
    }

    /// Whether a ServerHello has come.
    fn is_answered(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.hellos.is_empty())
    }

    fn engine(&self, origin: &Origin) -> Result<Engine, dimpl::Error> {
        let spec = EngineSpec { seed: origin.seed, ..self.spec.clone() };
        Engine::new(&spec, Arc::clone(&origin.shared), self.substitution.clone(), origin.born)
    }

    fn tell_all(
        &mut self,
        now: Instant,
        datagram: &Bytes,
        counters: &mut DtlsCounters,
        progress: &mut Progress,
    ) {
        for at in 0..self.attempts.len() {
            if progress.completed.is_none() {
                progress.merge(self.tell(at, now, datagram, counters));
            }
        }
    }

    /// A hello goes to those engines that have heard no other in its place; if there is none, to a new one.
    fn tell_of_hello(
        &mut self,
        now: Instant,
        sequence: u16,
        hello: &[u8],
        datagram: &Bytes,
        counters: &mut DtlsCounters,
        progress: &mut Progress,
    ) {
        let mut told = false;
        for at in 0..self.attempts.len() {
            let known = self.attempts[at].hello(sequence);
            if known.is_some_and(|known| known != hello) {
                continue;
            }
            if known.is_none() {
                self.attempts[at].hellos.push((sequence, hello.to_vec()));
            }
            told = true;
            progress.merge(self.tell(at, now, datagram, counters));
        }
        if told || self.attempts.is_empty() {
            return;
        }
        if self.attempts.len() >= ATTEMPTS {
            counters.hellos_refused += 1;
            return;
        }
        counters.rival_hellos += 1;
        let origin = self.attempts[0].origin.clone();
        let before: Vec<(u16, Vec<u8>)> = self.attempts[0]
            .hellos
            .iter()
            .filter(|(other, _)| *other < sequence)
            .cloned()
            .collect();
        let Ok(engine) = self.engine(&origin) else { return };
        let mut attempt = Attempt::new(engine, origin);
        attempt.hellos = before;
        // The peer has seen this ClientHello already.
        _ = attempt.engine.drain();
        self.attempts.push(attempt);
        let at = self.attempts.len() - 1;
        let heard: Vec<Bytes> = self.heard.iter().cloned().collect();
        let (hellos, others): (Vec<_>, Vec<_>) = heard
            .iter()
            .map(|heard| (first_hello(heard), heard))
            .partition(|(hello, _)| hello.is_some());
        for (hello, heard) in hellos {
            if hello.is_some_and(|(at_sequence, hello)| {
                self.attempts[at].hello(at_sequence).is_some_and(|known| known == hello)
            }) {
                progress.merge(self.tell(at, now, heard, counters));
            }
        }
        self.attempts[at].hellos.push((sequence, hello.to_vec()));
        progress.merge(self.tell(at, now, datagram, counters));
        for (_, heard) in others {
            if progress.completed.is_none() {
                progress.merge(self.tell(at, now, heard, counters));
            }
        }
    }

    fn tell(
        &mut self,
        at: usize,
        now: Instant,
        datagram: &Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(attempt) = self.attempts.get_mut(at) else { return Progress::default() };
        if let Err(error) = attempt.engine.hear(now, datagram) {
            // Anybody may have sent it: it is the engine's time-out that ends an attempt, not one bad record.
            counters.refused += 1;
            log::debug!("a record was refused: {error}");
        }
        self.drain(at)
    }

    fn drain(&mut self, at: usize) -> Progress {
        let attempt = &mut self.attempts[at];
        let Drained { packets, timeout, connected, peer_certificate, keys, payloads, closed } =
            attempt.engine.drain();
        attempt.timeout = timeout;
        let packets = packets.into_iter().map(|packet| self.number(packet)).collect();
        let attempt = &mut self.attempts[at];
        attempt.peer_certificate = peer_certificate.or(attempt.peer_certificate.take());
        attempt.keys = keys.or(attempt.keys.take());
        let completed = connected.then(|| {
            let Attempt { engine, peer_certificate, keys, .. } = self.attempts.swap_remove(at);
            self.attempts.clear();
            self.heard.clear();
            self.afresh = None;
            Completed { engine, peer_certificate, keys, payloads }
        });
        Progress { packets, completed, failed: None, closed }
    }

    /// Number the records that are not encrypted: no number may come twice (RFC 6347 §4.1), or a peer that drops what
    /// is replayed drops it. Engines do not know of each other, and dimpl repeats its first ClientHello as it was. Such
    /// numbers are not signed.
    fn number(&mut self, packet: Bytes) -> Bytes {
        let (mut numbered, mut at) = (Vec::from(packet.clone()), 0);
        for record in records(&packet) {
            if let Some(number) = record.plain_number() {
                let number = at + number.start..at + number.end;
                numbered[number].copy_from_slice(&self.sent.to_be_bytes()[2..]);
                self.sent += 1;
            }
            at += record.0.len();
        }
        numbered.into()
    }
}

impl Attempt {
    fn new(engine: Engine, origin: Origin) -> Self {
        Self {
            engine,
            origin,
            hellos: Vec::new(),
            timeout: None,
            peer_certificate: None,
            keys: None,
        }
    }

    fn hello(&self, sequence: u16) -> Option<&[u8]> {
        self.hellos.iter().find(|(other, _)| *other == sequence).map(|(_, hello)| &hello[..])
    }
}

impl Progress {
    pub(super) fn merge(&mut self, other: Self) {
        self.packets.extend(other.packets);
        self.completed = self.completed.take().or(other.completed);
        self.failed = other.failed.or(self.failed.take());
        self.closed |= other.closed;
    }
}

/// The datagram without the records that the peer's role cannot send, and without alerts that anybody may have sent.
/// None if nothing is left.
pub(super) fn only_fitting(
    datagram: &[u8],
    ours: Role,
    counters: &mut DtlsCounters,
) -> Option<Bytes> {
    let mut kept = Vec::with_capacity(datagram.len());
    for record in records(datagram) {
        if let Some(alert) = record.plain_alert() {
            counters.plain_alerts += 1;
            log::debug!("alert {alert} of unknown origin ignored");
        } else if !record.fits(ours) {
            counters.wrong_role += 1;
        } else {
            kept.extend_from_slice(record.0);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// The server's hello in a datagram.
fn first_hello(datagram: &[u8]) -> Option<(u16, Vec<u8>)> {
    let hello = |message: Message<'_>| Some((message.sequence, message.server_hello()?.to_vec()));
    records(datagram).flat_map(Record::messages).find_map(hello)
}

/// Engines at once; each forged hello takes one.
const ATTEMPTS: usize = 16;
/// Datagrams kept for engines that join later: a server's flight is six at most, and a forger may add his.
const HEARD: usize = 64;
/// Requests for another ClientHello that are held back; a forger may have sent the others.
const HELD: usize = 4;
/// How long they are held back when nobody has told the path's round-trip time.
const UNKNOWN_PATH: Duration = Duration::from_millis(100);
/// What a round trip may take longer than the last.
const JITTER: Duration = Duration::from_millis(2);
/// No path is given longer.
const LONGEST_PATH: Duration = Duration::from_secs(1);
/// Silence after which a handshake is begun afresh: longer than two retransmissions of a path with a round trip of 1 s.
const STALLED: Duration = Duration::from_secs(3);
