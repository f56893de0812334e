//! Passive side of a DTLS handshake: it waits for a ClientHello, and an attacker that can send in the peer's name may
//! send one first.
//!
//! There is no engine before a client has shown a cookie that was sent to the peer's address (RFC 6347 §4.2.1, RFC 9147
//! §5.1): a forger that cannot read what is sent there does not get past it (see [`cookies`](super::cookies)). Later
//! messages are passed to the engine when they are proven: in DTLS 1.2 by the client's signature (see
//! [`client_flight`](super::client_flight)), in DTLS 1.3 by being encrypted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::Role;
use super::super::certificate::random_bytes;
use super::attempt::{Attempt, Progress};
use super::client_flight::ClientFlight;
use super::engine::{EngineSpec, EngineVersion, Identity};
use super::engine_clock::LONGEST_PAUSE;
use super::first_hellos::{FirstHellos, hello_retry_request, hello_verify_request};
use super::hello::Hello;
use super::provider::Shared;
use super::reassembly::{PER_DATAGRAM, Reassembled, Reassembly};
use super::records::{
    CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE_FAILURE, Message, Numbers, Record, as_datagram,
    carry_answer, only_fitting, records,
};
use super::rivals::Rivals;
use super::srtp::{SrtpProfile, Substitution};
use super::{CertificateCheck, DtlsCounters, Version};

/// Passive side of one handshake.
pub(crate) struct Passive {
    spec: EngineSpec,
    version: Option<Version>,
    profiles: Vec<SrtpProfile>,
    cookie: [u8; 32],
    cookies: FirstHellos,
    fragments: Reassembly,
    /// Last request for the cookie, until a client shows it.
    asked: Option<RepeatedRequest>,
    /// Whether a hello has come that has what DTLS 1.3 needs.
    shares_seen: bool,
    /// Second hello in fragments; some may be a forger's.
    doubtful: Option<UnprovenHello>,
    /// Clients that have shown the cookie (or need not), the latest last.
    clients: Vec<Client>,
    numbers: Numbers,
}

/// Request that is repeated, since clients repeat their hello only after a second (RFC 6347 §4.2.4.1).
struct RepeatedRequest {
    request: Bytes,
    due: Instant,
    pause: Duration,
}

/// Hello that shows the cookie, and is taken for the client's if nothing better comes.
struct UnprovenHello {
    since: Instant,
    due: Instant,
    sequence: u16,
    body: Vec<u8>,
}

/// Client that has been answered with a ServerHello.
struct Client {
    random: Vec<u8>,
    hello: Bytes,
    talk: ClientHandshake,
}

enum ClientHandshake {
    /// Handshake by certificates.
    Proven {
        attempt: Box<Attempt>,
        version: Version,
        /// Candidates for the client's flight of DTLS 1.2, until it is found.
        flight: Option<Box<ClientFlight>>,
        /// Encrypted records that came before the flight.
        early: Vec<Bytes>,
    },
    /// Handshake by a pre-shared key, where nothing is signed.
    Rivals(Box<Rivals>),
}

impl Passive {
    /// Creates one for this version, or for the best that the client offers.
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
            cookies: FirstHellos::default(),
            fragments: Reassembly::default(),
            asked: None,
            shares_seen: false,
            doubtful: None,
            clients: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        is_acceptable: CertificateCheck<'_>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(datagram) = only_fitting(datagram, Role::Server, counters) else {
            return Progress::default();
        };
        let hellos = || {
            let messages = records(&datagram).flat_map(Record::messages);
            messages.filter(|message| message.kind == CLIENT_HELLO)
        };
        let mut progress = Progress::default();
        // A client may send a repeated hello together with the one that has the cookie: that one counts.
        if let Some(latest) = hellos().map(|hello| hello.sequence).max() {
            // A datagram contains one hello, or a few fragments of one; and it is answered once.
            let mut asked = false;
            let latest = hellos().filter(|hello| hello.sequence == latest);
            for hello in latest.take(PER_DATAGRAM) {
                progress.merge(self.handle_hello(now, &hello, &mut asked, counters));
                if hello.is_whole() {
                    break;
                }
            }
        } else {
            // Only the engines can tell which client has sent it.
            for at in 0..self.clients.len() {
                if progress.completed.is_none() {
                    progress.merge(self.feed(at, now, &datagram, is_acceptable, counters));
                }
            }
        }
        self.end(progress)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, counters: &mut DtlsCounters) -> Progress {
        let mut progress = Progress::default();
        if let Some(UnprovenHello { sequence, body, .. }) =
            self.doubtful.take_if(|one| one.due <= now)
            && let Some(hello) = Hello::parse(&body)
        {
            progress.merge(self.accept(now, sequence, &body, &hello, counters));
        }
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.due <= now) {
            progress.packets.push(asked.request.clone());
            asked.pause = (asked.pause * 2).min(LONGEST_PAUSE);
            asked.due = now + asked.pause;
        }
        for client in &mut self.clients {
            match &mut client.talk {
                ClientHandshake::Proven { attempt, .. } => {
                    progress.merge(attempt.handle_timeout(now));
                }
                ClientHandshake::Rivals(rivals) => progress.merge(rivals.handle_timeout(now)),
            }
        }
        // Another client may come, as long as there is time.
        progress.failed = None;
        self.end(progress)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let of_clients = self.clients.iter().filter_map(|client| match &client.talk {
            ClientHandshake::Proven { attempt, .. } => attempt.poll_timeout(),
            ClientHandshake::Rivals(rivals) => rivals.poll_timeout(),
        });
        let asked = self.asked.as_ref().map(|asked| asked.due);
        of_clients.chain(asked).chain(self.doubtful.as_ref().map(|one| one.due)).min()
    }

    /// Handles a hello, or a fragment of one; `asked` says whether a hello of the same datagram has been answered with
    /// a request already.
    fn handle_hello(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        asked: &mut bool,
        counters: &mut DtlsCounters,
    ) -> Progress {
        if message.is_whole() {
            return self.handle_whole_hello(now, message.sequence, message.body, None, counters);
        }
        let mut progress = Progress::default();
        for Reassembled { body, again } in self.fragments.add(message) {
            let Some(hello) = Hello::parse(&body) else { continue };
            if hello.has_cookie() {
                // Looking for its first hello takes work, and is not done for a cookie that is not ours.
                let certain =
                    again || !self.is_shown_by(&hello) || self.cookies.knows_first_of(&body);
                let doubt = match certain {
                    true => None,
                    false if self.fragments.is_contested(message) => Some(DOUBT),
                    false => Some(OVERTAKEN),
                };
                progress.merge(self.handle_whole_hello(
                    now,
                    message.sequence,
                    &body,
                    doubt,
                    counters,
                ));
            } else if std::mem::replace(asked, true) {
                // It is answered already, whichever fragments it is put together from.
                self.cookies.note(&body);
            } else {
                progress.merge(self.handle_whole_hello(
                    now,
                    message.sequence,
                    &body,
                    None,
                    counters,
                ));
            }
        }
        progress
    }

    /// Handles a whole hello. With a `doubt`, it may be put together from fragments of several senders.
    fn handle_whole_hello(
        &mut self,
        now: Instant,
        sequence: u16,
        body: &[u8],
        doubt: Option<Duration>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let Some(hello) = Hello::parse(body) else { return Progress::default() };
        let shown = self.is_shown_by(&hello);
        if shown && let Some(doubt) = doubt {
            // A hello that the client repeats is certain. Failing that, the fragments that came nearest to each other
            // are the likeliest.
            let (since, due, body) = (now, now, body.to_vec());
            let first = self.doubtful.get_or_insert(UnprovenHello { since, due, sequence, body });
            first.due = first.due.max(first.since + doubt);
            return Progress::default();
        }
        if shown || !self.spec.cookie {
            return self.accept(now, sequence, body, &hello, counters);
        }
        if hello.has_cookie() {
            // The answer to a request that we have not sent would put the client out of step.
            counters.hellos_refused += 1;
            return Progress::default();
        }
        let first = self.cookies.is_empty();
        let known = self.cookies.note(body);
        if !first && !known {
            counters.rival_hellos += 1;
        }
        self.ask(now, &hello, body, known, counters)
    }

    /// Returns whether a hello shows our cookie.
    fn is_shown_by(&self, hello: &Hello<'_>) -> bool {
        hello.legacy_cookie == self.cookie || hello.cookie == self.cookie
    }

    /// Requests the cookie, in the version that the client will get.
    fn ask(
        &mut self,
        now: Instant,
        hello: &Hello<'_>,
        body: &[u8],
        known: bool,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let packets = match self.version_for(hello) {
            None => Vec::new(),
            Some(Version::Dtls12) => self.asked(now, hello_verify_request(&self.cookie)),
            Some(Version::Dtls13) if hello.has_share => {
                self.shares_seen = true;
                self.asked(now, hello_retry_request(&self.cookie))
            }
            // A request for another share ends the handshake of a client that has sent one: the real client may have.
            // So a request is sent only while no hello with a share has come, and only for a hello that comes again.
            Some(Version::Dtls13) if self.shares_seen || !known => Vec::new(),
            Some(Version::Dtls13) => {
                let asked = self.engine(now, Version::Dtls13, body).map(|mut attempt| {
                    attempt.feed(now, &as_datagram(CLIENT_HELLO, 0, body), counters).packets
                });
                asked.unwrap_or_default()
            }
        };
        Progress { packets, ..Progress::default() }
    }

    fn asked(&mut self, now: Instant, request: Bytes) -> Vec<Bytes> {
        if self.clients.is_empty() {
            let pause = self.spec.first_retransmission;
            let due = self.asked.as_ref().map_or(now + pause, |asked| asked.due);
            let pause = self.asked.as_ref().map_or(pause, |asked| asked.pause);
            self.asked = Some(RepeatedRequest { request: request.clone(), due, pause });
        }
        vec![request]
    }

    fn version_for(&self, hello: &Hello<'_>) -> Option<Version> {
        match self.version {
            Some(Version::Dtls13) if !hello.offers_dtls13 => None,
            Some(version) => Some(version),
            None if hello.offers_dtls13 => Some(Version::Dtls13),
            None => Some(Version::Dtls12),
        }
    }

    fn engine(&self, now: Instant, version: Version, hello: &[u8]) -> Option<Attempt> {
        let version = match version {
            Version::Dtls12 => EngineVersion::Dtls12,
            Version::Dtls13 => EngineVersion::Dtls13,
        };
        let spec =
            EngineSpec { version, seed: u64::from_le_bytes(random_bytes()), ..self.spec.clone() };
        let shared = Arc::new(Shared::repeatable(self.cookie));
        let made = Attempt::new(&spec, shared, Substitution::answering(hello, &self.profiles), now);
        let label = &spec.label;
        made.inspect_err(|error| log::warn!("{label}no DTLS engine: {error}")).ok()
    }

    /// Answers a client that has shown the cookie (or need not).
    fn accept(
        &mut self,
        now: Instant,
        sequence: u16,
        body: &[u8],
        hello: &Hello<'_>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let datagram = as_datagram(CLIENT_HELLO, sequence, body);
        if let Some(client) = self.clients.iter_mut().find(|client| client.random == hello.random) {
            // A repeated hello asks for our answer again.
            return match &mut client.talk {
                _ if client.hello != datagram => Progress::default(),
                ClientHandshake::Proven { attempt, .. } => attempt.feed(now, &datagram, counters),
                ClientHandshake::Rivals(rivals) => rivals.handle_datagram(now, datagram, counters),
            };
        }
        let by_hello = self.version_for(hello);
        let version = match self.spec.cookie {
            true if hello.legacy_cookie == self.cookie => Some(Version::Dtls12),
            true => Some(Version::Dtls13),
            false => by_hello,
        };
        let Some(version) =
            version.filter(|version| self.version.is_none_or(|only| only == *version))
        else {
            return Progress::default();
        };
        let firsts: Vec<Option<Bytes>> = match self.spec.cookie {
            true => {
                let firsts = self.cookies.firsts_of(body);
                firsts.iter().map(|first| Some(as_datagram(CLIENT_HELLO, 0, first))).collect()
            }
            false => vec![None],
        };
        if let Identity::PreSharedKey(_) = &self.spec.identity {
            let first = firsts.into_iter().next().flatten();
            return self.accept_rivals(now, hello, first, datagram, counters);
        }
        for first in firsts {
            let Some(mut attempt) = self.engine(now, version, body) else { break };
            if let Some(first) = first {
                // The engine's request is dropped: the client has been asked already.
                _ = attempt.feed(now, &first, counters);
            }
            let progress = attempt.feed(now, &datagram, counters);
            if !carry_answer(&progress.packets) {
                continue;
            }
            let flight = match version {
                Version::Dtls12 => ClientFlight::new((sequence, body), &progress.packets),
                Version::Dtls13 => None,
            };
            debug_assert!(flight.is_some() || version == Version::Dtls13, "all of it is said");
            let (attempt, flight) = (Box::new(attempt), flight.map(Box::new));
            let talk = ClientHandshake::Proven { attempt, version, flight, early: Vec::new() };
            self.add(Client { random: hello.random.to_vec(), hello: datagram, talk });
            return progress;
        }
        counters.hellos_refused += 1;
        Progress::default()
    }

    fn accept_rivals(
        &mut self,
        now: Instant,
        hello: &Hello<'_>,
        first: Option<Bytes>,
        datagram: Bytes,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let spec = EngineSpec { seed: u64::from_le_bytes(random_bytes()), ..self.spec.clone() };
        let Ok(mut rivals) = Rivals::new(spec, Shared::repeatable(self.cookie), now) else {
            return Progress::default();
        };
        if let Some(first) = first {
            _ = rivals.handle_datagram(now, first, counters);
        }
        let progress = rivals.handle_datagram(now, datagram.clone(), counters);
        let talk = ClientHandshake::Rivals(Box::new(rivals));
        self.add(Client { random: hello.random.to_vec(), hello: datagram, talk });
        progress
    }

    /// Adds a client. The oldest makes room: with a cookie, all clients are the peer, which has begun afresh.
    fn add(&mut self, client: Client) {
        if self.clients.len() >= if self.spec.cookie { CLIENTS } else { WITHOUT_COOKIE } {
            self.clients.remove(0);
        }
        self.asked = None;
        self.clients.push(client);
    }

    /// Passes what is proven to a client's engine.
    fn feed(
        &mut self,
        at: usize,
        now: Instant,
        datagram: &Bytes,
        is_acceptable: CertificateCheck<'_>,
        counters: &mut DtlsCounters,
    ) -> Progress {
        let mut progress = Progress::default();
        let (attempt, version, flight, early) = match &mut self.clients[at].talk {
            ClientHandshake::Rivals(rivals) => {
                return rivals.handle_datagram(now, datagram.clone(), counters);
            }
            ClientHandshake::Proven { attempt, version, flight, early } => {
                (attempt, *version, flight, early)
            }
        };
        let encrypted = records(datagram).filter(|record| record.is_encrypted(version));
        early.extend(encrypted.map(|record| Bytes::copy_from_slice(record.0)));
        if let Some(client_flight) = flight {
            let Some(found) = client_flight.handle_datagram(datagram, is_acceptable) else {
                early.drain(..early.len().saturating_sub(EARLY));
                return progress;
            };
            *flight = None;
            for message in found {
                progress.merge(attempt.feed(now, &message, counters));
            }
            progress.merge(attempt.feed(now, &CHANGE_CIPHER_SPEC, counters));
        }
        for record in early.drain(..) {
            progress.merge(attempt.feed(now, &record, counters));
        }
        if attempt.is_connected() {
            let ClientHandshake::Proven { attempt, .. } = self.clients.swap_remove(at).talk else {
                unreachable!("it is one")
            };
            progress.completed = Some(attempt.complete());
            self.clients.clear();
        }
        progress
    }

    /// Sends the peer an alert that the handshake has failed, if one can be sent in the clear.
    pub(crate) fn give_up(&mut self) -> Vec<Bytes> {
        if self.cookies.is_empty() && self.clients.is_empty() {
            return Vec::new();
        }
        let mut packets = vec![Bytes::from_static(&HANDSHAKE_FAILURE)];
        self.numbers.number(&mut packets);
        packets
    }

    fn end(&mut self, mut progress: Progress) -> Progress {
        self.numbers.number(&mut progress.packets);
        if let Some(completed) = &mut progress.completed {
            if completed.engine.version() == Version::Dtls12 {
                completed.engine.go_on_with(std::mem::take(&mut self.numbers));
            }
            self.clients.clear();
            (self.asked, self.doubtful) = (None, None);
            (self.cookies, self.fragments) = (FirstHellos::default(), Reassembly::default());
        }
        progress
    }
}

/// Clients at once; below it, clients at once without a cookie, where each forged hello takes one.
const CLIENTS: usize = 4;
const WITHOUT_COOKIE: usize = 16;
/// Encrypted records kept for a flight that they have overtaken.
const EARLY: usize = 16;
/// Time for which a hello waits that is put together from fragments and differs from the one before it: the first for
/// another of its fragments, which comes at once; the second, when there are several candidates for a fragment, for the
/// client, which repeats the hello after a second or sooner, and once more.
const OVERTAKEN: Duration = Duration::from_millis(10);
const DOUBT: Duration = Duration::from_millis(3_500);
