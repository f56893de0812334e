//! Answer of a server to a client's hello, in DTLS 1.2: accepted when its ServerKeyExchange is valid.
//!
//! The ServerKeyExchange signs both randoms (RFC 8422 §5.4): an attacker that cannot read what the client sends cannot
//! sign it, whichever certificate it shows. It shows which ServerHello (by its random) and which Certificate are the
//! peer's. The later messages, CertificateRequest and ServerHelloDone, are not proven before the server's Finished:
//! accepted are those that came in the same datagram; failing that, those that come again with the flight's repetition;
//! failing that, those that came nearest.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::CertificateCheck;
use super::provider::verify;
use super::records::{
    CERTIFICATE, CERTIFICATE_REQUEST, SERVER_HELLO, SERVER_HELLO_DONE, SERVER_KEY_EXCHANGE,
    as_datagram, number,
};
use super::unproven::{Checks, Store, UnprovenMessage, leaf};

/// Candidates for the server's answer.
pub(super) struct ServerFlight {
    client_random: [u8; 32],
    /// Message number of the ServerHello.
    first: u16,
    store: Store,
    checks: Checks,
    proven: Option<Proven>,
    /// Time at which to choose between messages that are not proven.
    due: Option<Instant>,
}

/// Messages that a valid signature proves, and candidates for those after them.
struct Proven {
    hello: UnprovenMessage,
    exchange: UnprovenMessage,
    /// Certificates of the signer, which may differ in what follows the signer's own.
    certificates: Vec<UnprovenMessage>,
    /// CertificateRequests near the key exchange.
    requests: Vec<UnprovenMessage>,
    /// Number of the datagram with a ServerHelloDone in place of a CertificateRequest; below it, whether one has come
    /// after a CertificateRequest.
    bare: Option<u64>,
    done: bool,
    since: Instant,
}

impl ServerFlight {
    /// Creates one for answers to hellos of this random; the ServerHello has this number.
    pub(super) fn new(client_random: [u8; 32], first: u16) -> Self {
        let (store, checks) = (Store::default(), Checks::default());
        Self { client_random, first, store, checks, proven: None, due: None }
    }

    /// Returns whether a server has proven that it has read the hello.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.is_some()
    }

    /// Handles a datagram; returns the server's messages when they are found, each as a datagram.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        is_acceptable: CertificateCheck<'_>,
    ) -> Option<Vec<Bytes>> {
        let first = self.first;
        let new = self.store.add(datagram, |kind, sequence| {
            let place = sequence.wrapping_sub(first);
            match kind {
                SERVER_HELLO => place == 0,
                CERTIFICATE => place == 1,
                SERVER_KEY_EXCHANGE => place == 2,
                CERTIFICATE_REQUEST => place == 3,
                SERVER_HELLO_DONE => place == 3 || place == 4,
                _ => false,
            }
        });
        for message in &new {
            match message.kind {
                CERTIFICATE_REQUEST | SERVER_HELLO_DONE => self.note(message),
                _ if self.proven.is_none() => self.prove(now, message, is_acceptable),
                _ => self.note(message),
            }
        }
        self.choose(now)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        self.due.take_if(|due| *due <= now)?;
        self.choose(now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Tries the combinations of messages to which this one may belong.
    fn prove(&mut self, now: Instant, new: &UnprovenMessage, is_acceptable: CertificateCheck<'_>) {
        let candidates = |kind| match kind == new.kind {
            true => vec![new.clone()],
            false => self.store.nearest(kind, new.arrival),
        };
        let (exchanges, hellos) = (candidates(SERVER_KEY_EXCHANGE), candidates(SERVER_HELLO));
        if exchanges.is_empty() || hellos.is_empty() {
            return;
        }
        let certificates = self.checks.choose(candidates(CERTIFICATE), is_acceptable);
        let near = self.checks.nearest();
        for exchange in exchanges.iter().take(near) {
            // A key exchange that came together with a ServerHello belongs to it.
            let together = hellos.iter().any(|hello| hello.arrival == exchange.arrival);
            let belongs = |hello: &&UnprovenMessage| !together || hello.arrival == exchange.arrival;
            for hello in hellos.iter().filter(belongs).take(near) {
                for certificate in &certificates {
                    if self.holds(hello, certificate, exchange) {
                        return self.found(now, hello, certificate, exchange);
                    }
                    self.checks.note_failure();
                }
            }
        }
    }

    fn holds(
        &self,
        hello: &UnprovenMessage,
        certificate: &UnprovenMessage,
        exchange: &UnprovenMessage,
    ) -> bool {
        let body = &exchange.body;
        let check = || {
            // A named curve, its number, a point; then the signature (RFC 8422 §5.4).
            let params = 4 + usize::from(*body.get(3)?);
            let signed = number(body, params + 2)?;
            let signature = body.get(params + 4..params + 4 + signed)?;
            let random = hello.body.get(2..34)?;
            let data = [&self.client_random[..], random, body.get(..params)?].concat();
            let scheme = [body[params], body[params + 1]];
            Some(verify(leaf(&certificate.body)?, &data, scheme, signature))
        };
        check() == Some(true)
    }

    fn found(
        &mut self,
        now: Instant,
        hello: &UnprovenMessage,
        certificate: &UnprovenMessage,
        exchange: &UnprovenMessage,
    ) {
        let at = exchange.arrival;
        let mut requests = self.store.nearest(CERTIFICATE_REQUEST, at);
        requests.truncate(BEFORE);
        let done = |place| {
            let mut found = self.store.nearest(SERVER_HELLO_DONE, at).into_iter();
            found.find(|done| done.sequence == self.first + place).map(|done| done.arrival)
        };
        let (bare, done) = (done(3), done(4).is_some());
        let mut certificates = self.store.nearest(CERTIFICATE, at);
        certificates.retain(|other| leaf(&other.body) == leaf(&certificate.body));
        let (hello, exchange) = (hello.clone(), exchange.clone());
        self.proven =
            Some(Proven { hello, exchange, certificates, requests, bare, done, since: now });
    }

    /// Notes a message that follows a proven key exchange.
    fn note(&mut self, message: &UnprovenMessage) {
        let Some(proven) = &mut self.proven else { return };
        let candidates = match message.kind {
            SERVER_HELLO_DONE if message.sequence == self.first + 3 => {
                proven.bare.get_or_insert(message.arrival);
                return;
            }
            SERVER_HELLO_DONE => {
                proven.done = true;
                return;
            }
            CERTIFICATE => &mut proven.certificates,
            CERTIFICATE_REQUEST => &mut proven.requests,
            _ => return,
        };
        if let Some(known) = candidates.iter_mut().find(|known| known.body == message.body) {
            known.times += 1;
        } else if candidates.len() < REQUESTS && message.kind == CERTIFICATE_REQUEST {
            candidates.push(message.clone());
        }
    }

    /// Returns the flight, if the choice of the unproven messages is clear enough.
    fn choose(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        let proven = self.proven.as_ref()?;
        let at = proven.exchange.arrival;
        let waited = now.saturating_duration_since(proven.since);
        let request = match &proven.requests[..] {
            // Either the server asks for no certificate, or its request was overtaken.
            [] => (proven.bare? == at || waited >= REORDERED).then_some(None),
            _ if !proven.done => return None,
            [only] if only.arrival < at && waited < REORDERED => None,
            several => pick(several, at, waited).map(Some),
        };
        let (Some(request), Some(certificate)) = (request, pick(&proven.certificates, at, waited))
        else {
            let contested = proven.requests.len() > 1 || proven.certificates.len() > 1;
            let due = proven.since + if contested { REPEATED } else { REORDERED };
            self.due = Some(due).filter(|due| *due > now);
            return None;
        };
        self.due = None;
        let messages = [&proven.hello, certificate, &proven.exchange];
        let mut flight: Vec<Bytes> =
            messages.into_iter().chain(request).map(UnprovenMessage::datagram).collect();
        let place = if request.is_some() { 4 } else { 3 };
        flight.push(as_datagram(SERVER_HELLO_DONE, self.first + place, &[]));
        Some(flight)
    }
}

/// Picks one of the messages in one place: the only one, or the one that came together with what is proven, or the one
/// that came again.
fn pick(candidates: &[UnprovenMessage], at: u64, waited: Duration) -> Option<&UnprovenMessage> {
    let nearest = candidates.iter().min_by_key(|one| one.distance(at))?;
    if candidates.len() == 1 || nearest.arrival == at || waited >= REPEATED {
        return Some(nearest);
    }
    let mut again = candidates.iter().filter(|one| one.times > 1);
    again.next().filter(|_| again.next().is_none())
}

/// CertificateRequests between which a choice is made; below it, those of them that came before the key exchange.
const REQUESTS: usize = 12;
const BEFORE: usize = 4;
/// Time after which no overtaken message of a flight is expected any more.
const REORDERED: Duration = Duration::from_millis(20);
/// Time after which no repetition of the flight is expected any more: the first comes after 1 s (RFC 6347 §4.2.4.1) or
/// sooner.
const REPEATED: Duration = Duration::from_millis(1_500);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "virtual time begins now")]
mod tests {
    use super::*;

    #[test]
    fn key_exchanges_by_the_hundred_in_one_datagram_cost_a_few_verifications() {
        let now = Instant::now();
        let mut flight = ServerFlight::new([7; 32], 0);
        let accept = |_: &[u8]| true;
        flight.handle_datagram(now, &as_datagram(SERVER_HELLO, 0, &[3; 38]), &accept);
        flight.handle_datagram(now, &as_datagram(CERTIFICATE, 1, &[0, 0, 4, 0, 0, 1, 9]), &accept);
        let forged = |number: u16| {
            let [high, low] = number.to_be_bytes();
            as_datagram(SERVER_KEY_EXCHANGE, 2, &[3, 0, 0x17, 0, 4, 3, 0, 2, high, low])
        };
        for round in 0..10 {
            let before = flight.checks.failed();
            let datagram: Vec<u8> = (0..600).flat_map(|at| forged(round * 600 + at)).collect();
            assert_eq!(flight.handle_datagram(now, &datagram, &accept), None);
            let failed = flight.checks.failed() - before;
            assert!((1..=36).contains(&failed), "{failed} verifications");
        }
    }
}
