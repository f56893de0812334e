//! The passive side: it waits for a ClientHello, and whoever can send in the peer's name may send one first.
//!
//! No engine goes on before its client has shown a cookie that was sent to the peer's address (RFC 6347 §4.2.1,
//! RFC 9147 §5.1): a forger who cannot read what is sent there does not get past it. The cookie is the same for every
//! hello, since the real client cannot know in answer to whose hello it was sent. Each client random has engines of its
//! own, so that hellos do not mix; what comes after them may be forged as well (see [`rivals`](super::rivals)).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::super::Role;
use super::super::data::random_bytes;
use super::active::only_fitting;
use super::engine::{EngineSpec, EngineVersion};
use super::hello::Hellos;
use super::provider::Shared;
use super::records::{Message, Numbers, Record, offers_dtls13, records};
use super::rivals::{Progress, Rivals};
use super::srtp::{SrtpProfile, Substitution};
use super::{DtlsCounters, Version};

/// One passive side.
pub(crate) struct Passive {
    spec: EngineSpec,
    version: Option<Version>,
    profiles: Vec<SrtpProfile>,
    cookie: [u8; 32],
    clients: VecDeque<Client>,
    hellos: Hellos,
    numbers: Numbers,
}

/// The engines for the client of this random.
struct Client {
    random: Vec<u8>,
    rivals: Rivals,
    /// It has shown the cookie (or need not): it has been answered with a ServerHello.
    accepted: bool,
}

impl Passive {
    /// For this version, or for the best that the client offers.
    pub(crate) fn new(
        spec: EngineSpec,
        version: Option<Version>,
        profiles: Vec<SrtpProfile>,
    ) -> Self {
        Self {
            spec,
            version,
            profiles,
            cookie: random_bytes(),
            clients: VecDeque::new(),
            hellos: Hellos::default(),
            numbers: Numbers::default(),
        }
    }

    pub(crate) fn hear(
        &mut self,
        now: Instant,
        datagram: &[u8],
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(datagram) = only_fitting(datagram, Role::Server, counters) else {
            return Progress::default();
        };
        let datagram = without_outdated_hellos(datagram);
        let in_pieces =
            |message: Message<'_>| message.is_client_hello() && message.body.len() < message.length;
        let datagram = if records(&datagram).flat_map(Record::messages).any(in_pieces) {
            match self.hellos.complete(&datagram) {
                Some(whole) => whole,
                None => return Progress::default(),
            }
        } else {
            datagram
        };
        let messages = || records(&datagram).flat_map(Record::messages);
        if let Some((random, body)) =
            messages().find_map(|message| Some((message.client_random()?, message.body)))
        {
            let Some(at) = self.client(now, random, body, counters) else {
                return Progress::default();
            };
            let progress = self.clients[at].rivals.hear(now, datagram.clone(), counters);
            let progress = self.note(at, progress);
            return self.end(progress);
        }
        // Whose it is, only the engines can tell. Until a client has shown the cookie it has nothing to say but its hello.
        let mut progress = Progress::default();
        for at in 0..self.clients.len() {
            if progress.completed.is_none() && self.clients[at].accepted {
                let heard = self.clients[at].rivals.hear(now, datagram.clone(), counters);
                progress.merge(self.note(at, heard));
            }
        }
        self.end(progress)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Progress {
        let mut progress = Progress::default();
        let mut at = 0;
        while at < self.clients.len() {
            let timed = self.clients[at].rivals.handle_timeout(now);
            match &timed.failed {
                Some(error) => {
                    log::debug!("a client was given up: {error}");
                    self.clients.remove(at);
                }
                None => {
                    progress.merge(self.note(at, timed));
                    at += 1;
                }
            }
        }
        self.end(progress)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.rivals.poll_timeout()).min()
    }

    /// The place of the client of this random, made if need be.
    fn client(
        &mut self,
        now: Instant,
        random: &[u8],
        body: &[u8],
        counters: &mut DtlsCounters,
    ) -> Option<usize> {
        if let Some(at) = self.clients.iter().position(|client| client.random == random) {
            return Some(at);
        }
        if !self.clients.is_empty() {
            counters.rival_hellos += 1;
        }
        if self.clients.len() >= CLIENTS {
            // Not one that has shown the cookie: that is the peer.
            let oldest = self.clients.iter().position(|client| !client.accepted)?;
            self.clients.remove(oldest);
            counters.hellos_refused += 1;
        }
        let version = match self.version {
            Some(Version::Dtls12) => EngineVersion::Dtls12,
            Some(Version::Dtls13) => EngineVersion::Dtls13,
            None if offers_dtls13(body) => EngineVersion::Dtls13,
            None => EngineVersion::Dtls12,
        };
        let substitution = Substitution::answering(body, &self.profiles);
        let spec =
            EngineSpec { version, seed: u64::from_le_bytes(random_bytes()), ..self.spec.clone() };
        match Rivals::new(spec, Shared::repeatable(self.cookie), substitution, now) {
            Ok(rivals) => {
                let rivals = rivals.without_forks();
                self.clients.push_back(Client { random: random.to_vec(), rivals, accepted: false });
                Some(self.clients.len() - 1)
            }
            Err(error) => {
                log::warn!("cannot make a DTLS engine: {error}");
                None
            }
        }
    }

    /// Note what a client's engines said to it.
    fn note(&mut self, at: usize, progress: Progress) -> Progress {
        let answers = progress
            .packets
            .iter()
            .flat_map(|packet| records(packet))
            .flat_map(Record::messages)
            .any(|message| message.is_answer());
        if answers {
            self.clients[at].accepted = true;
            self.clients[at].rivals.fork_from_now_on();
        }
        progress
    }

    fn end(&mut self, mut progress: Progress) -> Progress {
        self.numbers.number(&mut progress.packets);
        if progress.completed.is_some() {
            self.clients.clear();
        }
        progress
    }
}

/// A hello that is sent again goes out together with the one that has the cookie: the engine, which takes the first for a
/// new beginning, is shown the last alone.
fn without_outdated_hellos(datagram: Bytes) -> Bytes {
    let of_hello = |record: Record<'_>| {
        record.messages().filter(Message::is_client_hello).map(|message| message.sequence).max()
    };
    let latest = records(&datagram).filter_map(of_hello).max();
    let outdated = |record: &Record<'_>| of_hello(*record).is_some_and(|one| Some(one) < latest);
    if !records(&datagram).any(|record| outdated(&record)) {
        return datagram;
    }
    let kept = records(&datagram).filter(|record| !outdated(record));
    kept.flat_map(|record| record.0).copied().collect()
}

/// Client randoms at once; each forged hello takes one, the oldest makes room.
const CLIENTS: usize = 16;
