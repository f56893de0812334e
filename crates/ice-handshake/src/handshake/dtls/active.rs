//! Active side of a DTLS handshake: it sends the ClientHello, and an attacker that can send in the peer's name may
//! answer first (see [`generation`](super::generation)).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Role;
use super::attempt::Progress;
use super::engine::EngineSpec;
use super::generation::Generation;
use super::records::{HANDSHAKE_FAILURE, Numbers, only_fitting};
use super::srtp::Substitution;
use super::{CertificateCheck, DtlsCounters};

/// Active side of one handshake.
pub(crate) struct Active {
    spec: EngineSpec,
    substitution: Option<Substitution>,
    /// Generations by ClientHello: the first, and one more if that led nowhere.
    generations: Vec<Generation>,
    /// Time at which to begin afresh, with another ClientHello.
    afresh: Option<Instant>,
    postponed: bool,
    patience: Duration,
    numbers: Numbers,
}

impl Active {
    pub(crate) fn new(spec: EngineSpec, substitution: Option<Substitution>) -> Self {
        Self {
            spec,
            substitution,
            generations: Vec::new(),
            afresh: None,
            postponed: false,
            patience: UNKNOWN_PATH,
            numbers: Numbers::default(),
        }
    }

    pub(crate) fn set_round_trip_time(&mut self, time: Duration) {
        self.patience = (time * 3 / 2 + JITTER).min(LONGEST_PATH);
    }

    /// Starts the handshake with a ClientHello.
    pub(crate) fn begin(&mut self, now: Instant, seed: u64) -> Progress {
        self.afresh = self.generations.is_empty().then(|| now + STALLED);
        self.generations.iter_mut().for_each(Generation::be_silent);
        let spec = EngineSpec { seed, ..self.spec.clone() };
        match Generation::new(now, spec, self.substitution.clone(), self.patience) {
            Ok((generation, progress)) => {
                self.generations.push(generation);
                self.sent(progress)
            }
            Err(error) => Progress { failed: Some(error.to_string()), ..Progress::default() },
        }
    }

    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        is_acceptable: CertificateCheck<'_>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(datagram) = only_fitting(datagram, Role::Client, counters) else {
            return Progress::default();
        };
        let mut progress = Progress::default();
        for generation in &mut self.generations {
            if progress.completed.is_none() {
                progress.merge(generation.handle_datagram(now, &datagram, is_acceptable, counters));
            }
        }
        self.sent(progress)
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        seed: impl FnOnce() -> u64,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let mut progress = Progress::default();
        for generation in &mut self.generations {
            progress.merge(generation.handle_timeout(now, counters));
        }
        let mut progress = self.sent(progress);
        if let Some(due) = self.afresh.filter(|due| *due <= now)
            && progress.completed.is_none()
        {
            // A handshake that a server has continued gets some more time.
            let goes_on = self.generations.iter().any(Generation::is_adopted);
            if goes_on && !std::mem::replace(&mut self.postponed, true) {
                self.afresh = Some(due + STALLED);
            } else {
                progress.merge(self.begin(now, seed()));
            }
        }
        // There is hope as long as there is another generation, or will be one.
        if self.poll_timeout().is_some() {
            progress.failed = None;
        }
        progress
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.generations.iter().filter_map(Generation::poll_timeout).chain(self.afresh).min()
    }

    /// Sends the peer an alert that the handshake has failed, if one can be sent in the clear.
    pub(crate) fn give_up(&mut self) -> Vec<Bytes> {
        if self.generations.is_empty() {
            return Vec::new();
        }
        let mut packets = vec![Bytes::from_static(&HANDSHAKE_FAILURE)];
        self.numbers.number(&mut packets);
        packets
    }

    /// Numbers the outgoing records; ends the handshake when it is complete.
    fn sent(&mut self, mut progress: Progress) -> Progress {
        self.numbers.number(&mut progress.packets);
        if progress.completed.is_some() {
            self.generations.clear();
            self.afresh = None;
        }
        progress
    }
}

/// Time for which requests are held back if the path's round-trip time is not known.
const UNKNOWN_PATH: Duration = Duration::from_millis(100);
/// Time by which a round trip may exceed the last.
const JITTER: Duration = Duration::from_millis(2);
/// Longest time for which requests are held back on any path.
const LONGEST_PATH: Duration = Duration::from_secs(1);
/// Silence after which a handshake begins afresh: longer than two retransmissions on a path with a round trip of 1 s.
const STALLED: Duration = Duration::from_secs(3);
