//! The active side: it sends the ClientHello, and whoever can send in the peer's name may answer first (see
//! [`rivals`](super::rivals)).
//!
//! A request for another ClientHello (with a cookie, say) is different: to heed a forged one would put the peer itself
//! out of step. It is held back for a round trip, and forgotten when an engine makes something of a ServerHello
//! meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Role;
use super::DtlsCounters;
use super::engine::EngineSpec;
use super::provider::Shared;
use super::records::{Numbers, Record, records};
use super::rivals::{Progress, Rivals};
use super::srtp::Substitution;

/// One active side.
pub(crate) struct Active {
    spec: EngineSpec,
    substitution: Option<Substitution>,
    /// By ClientHello: the first, and one more when that led nowhere.
    generations: Vec<Rivals>,
    /// When to begin afresh, with another ClientHello.
    afresh: Option<Instant>,
    /// Requests for another ClientHello, and how long they are held back.
    held: Vec<Bytes>,
    held_until: Option<Instant>,
    patience: Duration,
    /// A ServerHello has come.
    answered: bool,
    /// An engine has replied to one, which it does when it has verified what came with it.
    progressing: bool,
    numbers: Numbers,
}

impl Active {
    pub(crate) fn new(spec: EngineSpec, substitution: Option<Substitution>) -> Self {
        Self {
            spec,
            substitution,
            generations: Vec::new(),
            afresh: None,
            held: Vec::new(),
            held_until: None,
            patience: UNKNOWN_PATH,
            answered: false,
            progressing: false,
            numbers: Numbers::default(),
        }
    }

    pub(crate) fn set_round_trip_time(&mut self, time: Duration) {
        self.patience = (time * 3 / 2 + JITTER).min(LONGEST_PATH);
    }

    /// Send a ClientHello.
    pub(crate) fn begin(&mut self, now: Instant, seed: u64) -> Progress {
        let first = self.generations.is_empty();
        self.afresh = first.then(|| now + STALLED);
        self.held_until = first.then(|| now + self.patience);
        self.held.clear();
        let spec = EngineSpec { seed, ..self.spec.clone() };
        match Rivals::new(spec, Shared::repeatable([0; 32]), self.substitution.clone(), now) {
            Ok(mut rivals) => {
                let progress = rivals.begin();
                self.generations.push(rivals);
                self.sent(progress)
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
        self.tell(now, datagram, counters)
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        seed: impl FnOnce() -> u64,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let mut progress = Progress::default();
        if self.held_until.is_some_and(|due| due <= now) && !self.progressing {
            self.held_until = None;
            for datagram in std::mem::take(&mut self.held) {
                progress.merge(self.tell(now, datagram, counters));
            }
        }
        for at in 0..self.generations.len() {
            let timed = self.generations[at].handle_timeout(now);
            let timed = self.sent(timed);
            progress.merge(timed);
        }
        if self.afresh.is_some_and(|due| due <= now) && progress.completed.is_none() {
            progress.failed = None;
            progress.merge(self.begin(now, seed()));
        }
        // As long as there is another generation, or is to be one, there is hope.
        if self.afresh.is_some()
            || self.generations.iter().any(|rivals| rivals.poll_timeout().is_some())
        {
            progress.failed = None;
        }
        progress
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let held_until = self.held_until.filter(|_| !self.held.is_empty() && !self.progressing);
        self.generations
            .iter()
            .filter_map(Rivals::poll_timeout)
            .chain(self.afresh)
            .chain(held_until)
            .min()
    }

    fn tell(&mut self, now: Instant, datagram: Bytes, counters: &mut DtlsCounters) -> Progress {
        self.answered |=
            records(&datagram).flat_map(Record::messages).any(|message| message.is_answer());
        let mut progress = Progress::default();
        for at in 0..self.generations.len() {
            if progress.completed.is_none() {
                progress.merge(self.generations[at].hear(now, datagram.clone(), counters));
            }
        }
        self.progressing |= self.answered && !progress.packets.is_empty();
        self.sent(progress)
    }

    /// Number what goes out, and end when the handshake is complete.
    fn sent(&mut self, mut progress: Progress) -> Progress {
        self.numbers.number(&mut progress.packets);
        if progress.completed.is_some() {
            self.generations.clear();
            self.afresh = None;
            self.held.clear();
        }
        progress
    }
}

/// The datagram without alerts that anybody may have sent; none if nothing is left, or if there is a record in it that
/// the peer's role cannot send: what else is in it then is not the peer's either.
pub(super) fn only_fitting(
    datagram: &[u8],
    ours: Role,
    counters: &mut DtlsCounters,
) -> Option<Bytes> {
    if !records(datagram).all(|record| record.fits(ours)) {
        counters.wrong_role += 1;
        return None;
    }
    let mut kept = Vec::with_capacity(datagram.len());
    for record in records(datagram) {
        match record.plain_alert() {
            Some(alert) => {
                counters.plain_alerts += 1;
                log::debug!("alert {alert} of unknown origin ignored");
            }
            None => kept.extend_from_slice(record.0),
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// Requests for another ClientHello that are held back; a forger may have sent the others.
const HELD: usize = 8;
/// How long they are held back when nobody has told the path's round-trip time.
const UNKNOWN_PATH: Duration = Duration::from_millis(100);
/// What a round trip may take longer than the last.
const JITTER: Duration = Duration::from_millis(2);
/// No path is given longer.
const LONGEST_PATH: Duration = Duration::from_secs(1);
/// Silence after which a handshake is begun afresh: longer than two retransmissions of a path with a round trip of 1 s.
const STALLED: Duration = Duration::from_secs(3);
