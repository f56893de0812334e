//! Handshake attempt that follows from one ClientHello.
//!
//! An attacker that can send in the server's name may answer first. So the engines are given only what is proven: in
//! DTLS 1.2 by the server's signature (see [`server_flight`](super::server_flight)), in DTLS 1.3 by a record that can
//! be opened with the keys of a ServerHello. That is tried on an engine that begins as the first did: with the same
//! random and key share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::attempt::{Attempt, Progress};
use super::engine::{EngineSpec, EngineVersion, Identity};
use super::hello::Hello;
use super::provider::Shared;
use super::records::{
    CHANGE_CIPHER_SPEC, Message, Record, SERVER_HELLO, SERVER_HELLO_DONE, SERVER_KEY_EXCHANGE,
    as_datagram, number, records,
};
use super::requests::{Choice, Requests};
use super::rivals::Rivals;
use super::server_flight::ServerFlight;
use super::srtp::Substitution;
use super::{CertificateCheck, DtlsCounters, Version};

/// One ClientHello, and the engines that have sent it.
pub(super) struct Generation {
    spec: EngineSpec,
    shared: Arc<Shared>,
    substitution: Option<Substitution>,
    born: Instant,
    client_random: [u8; 32],
    hello: Vec<Bytes>,
    /// Requests for another ClientHello, until one is heeded; below it, that one.
    requests: Requests,
    heeded: Option<Bytes>,
    /// Engine that has received nothing but the request that was followed, and repeats its hello.
    speaker: Option<Box<Attempt>>,
    flight: ServerFlight,
    trials: TrialRecords,
    /// With a pre-shared key, where nothing is signed: engines in place of all of these; below it, whether they have
    /// answered.
    rivals: Option<Box<Rivals>>,
    answered: bool,
    /// What the server has proven, and the engine that has been given it.
    adopted: Option<ProvenServer>,
    /// Whether it sends nothing any more of its own accord, but still listens.
    silent: bool,
}

struct ProvenServer {
    attempt: Box<Attempt>,
    version: Version,
    /// Bodies of the server's ServerHello and ServerKeyExchange, which show that a datagram is the server's.
    proof: Vec<Bytes>,
    /// In DTLS 1.2, message number of the ServerHelloDone.
    done: u16,
}

/// ServerHellos of DTLS 1.3, and the encrypted records that they might open.
#[derive(Default)]
struct TrialRecords {
    engines: VecDeque<(Box<Attempt>, Bytes)>,
    /// Encrypted records that came before their ServerHello.
    early: VecDeque<Bytes>,
}

impl Generation {
    /// Creates a generation; returns it with its hello.
    pub(super) fn new(
        now: Instant,
        spec: EngineSpec,
        substitution: Option<Substitution>,
        patience: Duration,
    ) -> Result<(Self, Progress), dimpl::Error> {
        let shared = Arc::new(Shared::repeatable([0; 32]));
        let (mut speaker, mut rivals) = (None, None);
        let progress = if let Identity::PreSharedKey(_) = &spec.identity {
            let made = Rivals::new(spec.clone(), Shared::repeatable([0; 32]), now)?;
            rivals.insert(Box::new(made)).begin()
        } else {
            let made = Attempt::new(&spec, Arc::clone(&shared), substitution.clone(), now)?;
            speaker.insert(Box::new(made)).drain()
        };
        let client_random = random_of(&progress.packets);
        let generation = Self {
            shared,
            substitution,
            born: now,
            client_random,
            hello: progress.packets.clone(),
            requests: Requests::new(now, patience, spec.version),
            spec,
            heeded: None,
            speaker,
            flight: ServerFlight::new(client_random, 0),
            trials: TrialRecords::default(),
            rivals,
            answered: false,
            adopted: None,
            silent: false,
        };
        Ok((generation, progress))
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &Bytes,
        is_acceptable: CertificateCheck<'_>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        if self.adopted.is_some() {
            return self.feed_proven(now, datagram, counters);
        }
        if self.heeded.is_none() && !self.answered {
            if self.requests.handle_datagram(now, datagram) {
                return Progress::default();
            }
            self.requests.note_noise();
        }
        if let Some(rivals) = &mut self.rivals {
            let progress = rivals.handle_datagram(now, datagram.clone(), counters);
            self.answered |= !progress.packets.is_empty();
            return progress;
        }
        if self.spec.version != EngineVersion::Dtls13
            && let Some(flight) = self.flight.handle_datagram(now, datagram, is_acceptable)
        {
            let progress = self.adopt12(now, &flight, counters);
            // Encrypted records that came right after the flight.
            return self.then_tell(now, datagram, progress, counters);
        }
        if self.spec.version != EngineVersion::Dtls12 {
            return self.handle_datagram13(now, datagram, counters);
        }
        Progress::default()
    }

    /// Returns whether a server has proven that it continues with this hello.
    pub(super) fn is_adopted(&self) -> bool {
        self.adopted.is_some() || self.answered
    }

    /// Stops sending, to make room for another hello: a server that receives both would be confused. Answers of the
    /// server to this hello are still accepted.
    pub(super) fn be_silent(&mut self) {
        self.silent = true;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, counters: &mut DtlsCounters) -> Progress {
        if self.silent {
            return Progress::default();
        }
        if let Some(adopted) = &mut self.adopted {
            return adopted.attempt.handle_timeout(now);
        }
        let mut progress = Progress::default();
        if let Some(speaker) = &mut self.speaker {
            progress.merge(speaker.handle_timeout(now));
        }
        if let Some(rivals) = &mut self.rivals {
            progress.merge(rivals.handle_timeout(now));
        }
        if !progress.packets.is_empty() {
            self.requests.note_hello(now);
        }
        if self.asks() {
            match self.requests.handle_timeout(now) {
                Choice::Wait => {}
                Choice::Repeat => {
                    self.requests.note_hello(now);
                    progress.packets.extend(self.hello.iter().cloned());
                }
                Choice::Heed(request) => progress.merge(self.heed(now, request, counters)),
            }
        }
        if let Some(flight) = self.flight.handle_timeout(now) {
            progress.merge(self.adopt12(now, &flight, counters));
        }
        progress
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        if let Some(adopted) = &self.adopted {
            return adopted.attempt.poll_timeout();
        }
        let requests = self.requests.poll_timeout().filter(|_| self.asks());
        let rivals = self.rivals.as_ref().and_then(|rivals| rivals.poll_timeout());
        let speaker = self.speaker.as_ref().and_then(|speaker| speaker.poll_timeout());
        requests.into_iter().chain(speaker).chain(rivals).chain(self.flight.poll_timeout()).min()
    }

    /// Returns whether requests are still of interest.
    fn asks(&self) -> bool {
        self.heeded.is_none() && !self.answered && !self.flight.is_proven()
    }

    /// Sends the hello again, as this request wants it.
    fn heed(&mut self, now: Instant, request: Bytes, counters: &mut DtlsCounters) -> Progress {
        if let Some(rivals) = &mut self.rivals {
            self.heeded = Some(request.clone());
            return rivals.handle_datagram(now, request, counters);
        }
        let Some(mut speaker) = self.speaker.take().or_else(|| self.another(now, counters)) else {
            return Progress::default();
        };
        let progress = speaker.feed(now, &request, counters);
        if progress.packets.is_empty() {
            // The engine refuses this request: wait for a better one.
            self.requests.forget(now, &request);
            self.speaker = self.another(now, counters);
            return progress;
        }
        let label = &self.spec.label;
        log::debug!("{label}a ClientHello is sent again, as a request asks: {:02x?}", &request[..]);
        self.speaker = Some(speaker);
        self.heeded = Some(request);
        self.flight = ServerFlight::new(self.client_random, 1);
        self.trials = TrialRecords::default();
        progress
    }

    /// Creates another engine that has sent the same hello.
    fn another(&self, now: Instant, counters: &mut DtlsCounters) -> Option<Box<Attempt>> {
        let (shared, substitution) = (Arc::clone(&self.shared), self.substitution.clone());
        let (made, label) =
            (Attempt::new(&self.spec, shared, substitution, self.born), &self.spec.label);
        let mut attempt =
            made.inspect_err(|error| log::warn!("{label}no DTLS engine: {error}")).ok()?;
        _ = attempt.drain();
        if let Some(request) = &self.heeded {
            _ = attempt.feed(now, request, counters);
        }
        Some(Box::new(attempt))
    }

    /// Passes the server's flight of DTLS 1.2 to an engine.
    fn adopt12(&mut self, now: Instant, flight: &[Bytes], counters: &mut DtlsCounters) -> Progress {
        let Some(mut attempt) = self.speaker.take().or_else(|| self.another(now, counters)) else {
            return Progress::default();
        };
        let mut progress = Progress::default();
        for message in flight {
            progress.merge(attempt.feed(now, message, counters));
        }
        // The engine sends its keys first: from then on it expects encrypted records.
        let messages =
            || flight.iter().flat_map(|packet| records(packet)).flat_map(Record::messages);
        let shows =
            |message: &Message<'_>| matches!(message.kind, SERVER_HELLO | SERVER_KEY_EXCHANGE);
        let proof =
            messages().filter(shows).map(|message| Bytes::copy_from_slice(message.body)).collect();
        let done = messages().map(|message| message.sequence).max().unwrap_or_default();
        progress.merge(attempt.feed(now, &CHANGE_CIPHER_SPEC, counters));
        self.adopt(ProvenServer { attempt, version: Version::Dtls12, proof, done });
        progress
    }

    fn adopt(&mut self, adopted: ProvenServer) {
        log::debug!("{}a server of {:?} has proven itself", self.spec.label, adopted.version);
        self.adopted = Some(adopted);
        self.speaker = None;
        self.trials = TrialRecords::default();
        self.flight = ServerFlight::new(self.client_random, 0);
    }

    /// Tries which ServerHello and which encrypted records of a datagram of DTLS 1.3 belong together.
    fn handle_datagram13(
        &mut self,
        now: Instant,
        datagram: &Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let expected = u16::from(self.heeded.is_some());
        let hello = records(datagram).flat_map(Record::messages).find(|message| {
            message.sequence == expected && message.is_whole() && is_dtls13(message)
        });
        let encrypted: Vec<Bytes> = records(datagram)
            .filter(|record| record.is_encrypted(Version::Dtls13))
            .map(|record| Bytes::copy_from_slice(record.0))
            .collect();
        let Some(hello) = hello else {
            return self.try_records(now, &encrypted, counters);
        };
        let hello = as_datagram(SERVER_HELLO, hello.sequence, hello.body);
        if self.trials.engines.iter().any(|(_, known)| *known == hello) {
            return self.try_records(now, &encrypted, counters);
        }
        counters.rival_hellos += u64::from(self.speaker.is_none() || !self.trials.is_empty());
        // The first ServerHello goes to the speaker; each later one gets an engine of its own.
        let speaker = if self.trials.is_empty() { self.speaker.take() } else { None };
        let Some(mut attempt) = speaker.or_else(|| self.another(now, counters)) else {
            return Progress::default();
        };
        let mut progress = attempt.feed(now, &hello, counters);
        let early = std::mem::take(&mut self.trials.early);
        for record in early.iter().chain(&encrypted) {
            progress.merge(attempt.feed(now, record, counters));
        }
        if attempt.opened() {
            return self.adopt13(attempt, &hello, progress);
        }
        self.trials.early = early;
        if self.trials.engines.len() >= TRIALS {
            self.trials.engines.pop_front();
        }
        self.trials.engines.push_back((attempt, hello));
        if self.speaker.is_none() {
            self.speaker = self.another(now, counters);
        }
        Progress::default()
    }

    fn try_records(
        &mut self,
        now: Instant,
        encrypted: &[Bytes],
        counters: &mut DtlsCounters,
    ) -> Progress {
        for record in encrypted {
            for at in (0..self.trials.engines.len()).rev() {
                let progress = self.trials.engines[at].0.feed(now, record, counters);
                if self.trials.engines[at].0.opened()
                    && let Some((attempt, hello)) = self.trials.engines.remove(at)
                {
                    let mut progress = self.adopt13(attempt, &hello, progress);
                    for record in encrypted {
                        progress = self.then_tell(now, record, progress, counters);
                    }
                    return progress;
                }
            }
            if self.trials.early.len() >= EARLY {
                self.trials.early.pop_front();
            }
            self.trials.early.push_back(record.clone());
        }
        Progress::default()
    }

    fn adopt13(
        &mut self,
        attempt: Box<Attempt>,
        hello: &Bytes,
        mut progress: Progress,
    ) -> Progress {
        if attempt.is_connected() {
            progress.completed = Some(attempt.complete());
            return progress;
        }
        let proof = vec![hello.clone()];
        self.adopt(ProvenServer { attempt, version: Version::Dtls13, proof, done: 0 });
        progress
    }

    fn then_tell(
        &mut self,
        now: Instant,
        datagram: &Bytes,
        mut progress: Progress,
        counters: &mut DtlsCounters,
    ) -> Progress {
        if self.adopted.is_some() {
            progress.merge(self.feed_proven(now, datagram, counters));
        }
        progress
    }

    /// Passes encrypted records to the engine, and repetitions of the server's flight.
    fn feed_proven(
        &mut self,
        now: Instant,
        datagram: &Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let mut progress = Progress::default();
        let Some(adopted) = &mut self.adopted else { return progress };
        for record in records(datagram).filter(|record| record.is_encrypted(adopted.version)) {
            progress.merge(adopted.attempt.feed(now, record.0, counters));
        }
        let shown = |message: Message<'_>| adopted.proof.iter().any(|proof| *proof == message.body);
        if adopted.version == Version::Dtls12
            && records(datagram).flat_map(Record::messages).any(shown)
        {
            let done = as_datagram(SERVER_HELLO_DONE, adopted.done, &[]);
            progress.merge(adopted.attempt.feed(now, &done, counters));
        }
        if adopted.attempt.is_connected()
            && let Some(adopted) = self.adopted.take()
        {
            progress.completed = Some(adopted.attempt.complete());
        }
        progress
    }
}

impl TrialRecords {
    fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }
}

fn random_of(packets: &[Bytes]) -> [u8; 32] {
    let mut messages = packets.iter().flat_map(|packet| records(packet)).flat_map(Record::messages);
    let random = messages.find_map(|message| Hello::parse(message.body)?.random.try_into().ok());
    random.unwrap_or_default()
}

/// Returns whether a ServerHello is of DTLS 1.3 (RFC 8446 §4.2.1).
fn is_dtls13(message: &Message<'_>) -> bool {
    let selects = || {
        let body = message.body;
        let extensions = 38 + usize::from(*body.get(34)?);
        let mut rest = body.get(extensions + 2..)?;
        while let (Some(kind), Some(length)) = (number(rest, 0), number(rest, 2)) {
            if kind == 43 {
                return Some(rest.get(4..6)? == [0xfe, 0xfc]);
            }
            rest = rest.get(4 + length..)?;
        }
        None
    };
    message.is_answer() && selects() == Some(true)
}

/// ServerHellos of DTLS 1.3 that wait for the records that they open: a server's flight comes at once, so few come in
/// between.
const TRIALS: usize = 4;
/// Encrypted records that are kept.
const EARLY: usize = 8;
