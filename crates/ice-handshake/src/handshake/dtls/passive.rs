//! The passive side: it waits for a ClientHello, and whoever can send in the peer's name may send one first.
//!
//! No engine goes on before its client has shown a cookie that was sent to the peer's address (RFC 6347 §4.2.1,
//! RFC 9147 §5.1): a forger who cannot read what is sent there does not get past it. The cookie is the same for every
//! hello, since the real client cannot know in answer to whose hello it was sent. Each client random has an engine of
//! its own, so that hellos do not mix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::super::Role;
use super::super::data::random_bytes;
use super::active::{Progress, only_fitting};
use super::engine::{Drained, Engine, EngineSpec, EngineVersion};
use super::provider::Shared;
use super::records::{Record, offers_dtls13, records};
use super::srtp::{SrtpProfile, Substitution};
use super::{Completed, DtlsCounters, Version};

/// The engines of one passive side.
pub(crate) struct Passive {
    spec: EngineSpec,
    version: Option<Version>,
    profiles: Vec<SrtpProfile>,
    shared: Arc<Shared>,
    clients: VecDeque<Client>,
}

/// An engine, for the client of this random.
struct Client {
    random: Vec<u8>,
    engine: Engine,
    /// It has shown the cookie (or need not): its engine has answered with a ServerHello.
    accepted: bool,
    timeout: Option<Instant>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<(Vec<u8>, SrtpProfile)>,
}

impl Passive {
    /// For this version, or for the best that the client offers.
    pub(crate) fn new(
        spec: EngineSpec,
        version: Option<Version>,
        profiles: Vec<SrtpProfile>,
    ) -> Self {
        let shared = Arc::new(Shared::with_cookie(random_bytes()));
        Self { spec, version, profiles, shared, clients: VecDeque::new() }
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
        let hello = records(&datagram)
            .flat_map(Record::messages)
            .find_map(|message| Some((message.client_random()?.to_vec(), message.body)));
        let mut progress = Progress::default();
        match hello {
            Some((random, body)) => {
                if let Some(at) = self.client(now, random, body, counters) {
                    progress.merge(self.tell(at, now, &datagram, counters));
                }
            }
            // Whose it is, only the engines can tell.
            None => {
                for at in 0..self.clients.len() {
                    if progress.completed.is_none() {
                        progress.merge(self.tell(at, now, &datagram, counters));
                    }
                }
            }
        }
        progress
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Progress {
        let mut progress = Progress::default();
        let mut ended = Vec::new();
        for at in 0..self.clients.len() {
            if self.clients[at].timeout.is_none_or(|due| due > now) {
                continue;
            }
            match self.clients[at].engine.handle_time(now) {
                Ok(()) => progress.merge(self.drain(at)),
                Err(error) => ended.push((at, error)),
            }
        }
        for (at, error) in ended.into_iter().rev() {
            log::debug!("a client was given up: {error}");
            self.clients.remove(at);
        }
        progress
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.timeout).min()
    }

    /// The place of the client of this random, made if need be.
    fn client(
        &mut self,
        now: Instant,
        random: Vec<u8>,
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
        match Engine::new(&spec, Arc::clone(&self.shared), substitution, now) {
            Ok(engine) => {
                let client = Client {
                    random,
                    engine,
                    accepted: false,
                    timeout: None,
                    peer_certificate: None,
                    keys: None,
                };
                self.clients.push_back(client);
                Some(self.clients.len() - 1)
            }
            Err(error) => {
                log::warn!("cannot make a DTLS engine: {error}");
                None
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
        let Some(client) = self.clients.get_mut(at) else { return Progress::default() };
        if let Err(error) = client.engine.hear(now, datagram) {
            // Anybody may have sent it: the handshake goes on, with what comes next or until its deadline.
            counters.refused += 1;
            log::debug!("a record was refused: {error}");
        }
        self.drain(at)
    }

    fn drain(&mut self, at: usize) -> Progress {
        let client = &mut self.clients[at];
        let Drained { packets, timeout, connected, peer_certificate, keys, payloads, closed } =
            client.engine.drain();
        client.timeout = timeout;
        client.peer_certificate = peer_certificate.or(client.peer_certificate.take());
        client.keys = keys.or(client.keys.take());
        client.accepted |= packets
            .iter()
            .flat_map(|packet| records(packet))
            .flat_map(Record::messages)
            .any(|message| message.is_answer());
        let completed = connected.then(|| {
            let client = self.clients.swap_remove_back(at).expect("it was there just now");
            self.clients.clear();
            let Client { engine, peer_certificate, keys, .. } = client;
            Completed { engine, peer_certificate, keys, payloads }
        });
        Progress { packets, completed, failed: None, closed }
    }
}

/// Client randoms at once; each forged hello takes one, the oldest makes room.
const CLIENTS: usize = 16;
