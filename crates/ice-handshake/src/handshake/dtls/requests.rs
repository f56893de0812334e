//! Requests for another ClientHello, as a client receives them: with a cookie (RFC 6347 §4.2.1), or for another key
//! share (RFC 8446 §4.1.4).
//!
//! A request is not proven, and heeding a forged one puts the server out of step. But a server that asks repeats its
//! request in answer to each repetition of a hello, unchanged. So a request is held back for a round trip, and dropped
//! if the server proves itself meanwhile. If there are several, the hello is repeated, and the request that comes again
//! with it is heeded.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::EngineVersion;
use super::records::{HELLO_VERIFY_REQUEST, Message, Record, as_datagram, records};

/// Requests received.
pub(super) struct Requests {
    patience: Duration,
    candidates: Vec<CookieCandidate>,
    version: EngineVersion,
    /// Hellos sent so far; below it, when the latest of them were sent.
    hellos: u32,
    sent: Vec<Instant>,
    due: Option<Instant>,
    /// Whether the first round trip is over.
    late: bool,
    /// Whether messages have come that no server sends that asks for another hello.
    noisy: bool,
}

struct CookieCandidate {
    datagram: Bytes,
    /// Number of times that it has come; below it, to how many hellos in answer.
    times: u32,
    rounds: u32,
    /// Number of hellos sent when it last came.
    last: u32,
    /// Number of times that it came when no answer to a hello could.
    untimely: u32,
}

/// Decision on the requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Wait,
    /// Send the hello again.
    Repeat,
    /// Heed this request.
    Heed(Bytes),
}

impl Requests {
    /// Creates one when a hello has just been sent, over a path on which an answer takes at most this long.
    pub(super) fn new(now: Instant, patience: Duration, version: EngineVersion) -> Self {
        Self {
            patience,
            candidates: Vec::new(),
            version,
            hellos: 1,
            sent: vec![now],
            due: Some(now + patience),
            late: false,
            noisy: false,
        }
    }

    /// Notes the first request of a datagram, since no server sends two at once. Returns whether there is any.
    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let mut messages = records(datagram).flat_map(Record::messages);
        let Some(request) = messages.find(Message::is_request) else { return false };
        let of_dtls12 = request.kind == HELLO_VERIFY_REQUEST;
        let other = if of_dtls12 { EngineVersion::Dtls13 } else { EngineVersion::Dtls12 };
        if request.is_whole() && request.body.len() <= LARGEST && self.version != other {
            let untimely = u32::from(!self.is_timely(now));
            let request = as_datagram(request.kind, request.sequence, request.body);
            match self.candidates.iter_mut().find(|known| known.datagram == request) {
                Some(known) => {
                    known.times += 1;
                    known.rounds += u32::from(known.last < self.hellos);
                    known.last = self.hellos;
                    known.untimely += untimely;
                }
                None => self.add(request, untimely),
            }
        }
        if !self.candidates.is_empty() && self.due.is_none() {
            self.due = Some(now + self.patience.min(SHORT));
        }
        true
    }

    /// Returns whether an answer to a hello may come now, a round trip after it; the server takes some time too.
    fn is_timely(&self, now: Instant) -> bool {
        let round_trip = self.patience * 2 / 3;
        self.sent.iter().any(|sent| {
            let after = now.saturating_duration_since(*sent);
            after >= round_trip * 4 / 5 - SHORT.min(round_trip) / 4
                && after <= round_trip * 5 / 4 + SHORT / 2
        })
    }

    fn add(&mut self, datagram: Bytes, untimely: u32) {
        if self.candidates.len() >= CANDIDATES {
            // The oldest request that has not come again.
            let oldest = self.candidates.iter().position(|known| known.rounds == 1);
            self.candidates.remove(oldest.unwrap_or_default());
        }
        let last = self.hellos;
        self.candidates.push(CookieCandidate { datagram, times: 1, rounds: 1, last, untimely });
    }

    /// Notes that something else has come, which is not proven: from now on only a request that comes again is heeded.
    pub(super) fn note_noise(&mut self) {
        self.noisy = true;
    }

    /// Removes a request that was of no use.
    pub(super) fn forget(&mut self, now: Instant, request: &Bytes) {
        self.candidates.retain(|known| known.datagram != *request);
        self.due = (!self.candidates.is_empty()).then(|| now + SHORT);
    }

    /// Notes that the hello has been sent once more, which may be answered within a round trip.
    pub(super) fn note_hello(&mut self, now: Instant) {
        self.hellos += 1;
        if self.sent.len() >= SENT {
            self.sent.remove(0);
        }
        self.sent.push(now);
        if self.late
            && let Some(due) = &mut self.due
        {
            *due = (*due).max(now + self.patience);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Choice {
        if self.due.is_none_or(|due| due > now) {
            return Choice::Wait;
        }
        self.late = true;
        self.due = None;
        if let [only] = &self.candidates[..]
            && !self.noisy
        {
            return Choice::Heed(only.datagram.clone());
        }
        if self.candidates.is_empty() {
            return Choice::Wait;
        }
        let hellos = self.hellos;
        // The server's request comes once with each hello; a forger does not know when hellos are sent, or how many.
        let repeated = || self.candidates.iter().filter(|one| one.rounds > 1);
        let distance = |one: &&CookieCandidate| (one.times.abs_diff(hellos), hellos - one.rounds);
        let timely = repeated().filter(|one| one.untimely == 0).min_by_key(distance);
        let best = timely.or_else(|| repeated().min_by_key(distance));
        match best {
            Some(best) => Choice::Heed(best.datagram.clone()),
            None => {
                let pause = self.patience.max(SHORT) * hellos.min(4);
                self.due = Some(now + pause);
                Choice::Repeat
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // Without requests there is nothing to choose: the first one that comes late sets the time-out then.
        if self.late && self.candidates.is_empty() { None } else { self.due }
    }
}

/// Requests between which a choice is made: those of a round trip of 100 ms, at a thousand a second.
const CANDIDATES: usize = 128;
/// Largest request in bytes: a cookie has 255 bytes at most in DTLS 1.2.
const LARGEST: usize = 512;
/// Hellos whose time is kept.
const SENT: usize = 8;
/// Time by which a server's request may be late.
const SHORT: Duration = Duration::from_millis(10);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "virtual time begins now")]
mod tests {
    use super::*;

    fn request(cookie: u8) -> Bytes {
        as_datagram(3, 0, &[0xfe, 0xff, 1, cookie])
    }

    #[test]
    fn the_only_one_is_heeded_after_a_round_trip() {
        let now = Instant::now();
        let mut requests = Requests::new(now, Duration::from_millis(60), EngineVersion::Auto);
        assert!(requests.handle_datagram(now, &request(7)));
        assert_eq!(requests.handle_timeout(now), Choice::Wait);
        let due = requests.poll_timeout().unwrap();
        assert_eq!(requests.handle_timeout(due), Choice::Heed(request(7)));
    }

    #[test]
    fn among_many_the_one_that_comes_with_each_hello_is_heeded() {
        let mut now = Instant::now();
        let mut requests = Requests::new(now, Duration::from_millis(60), EngineVersion::Auto);
        for round in 0..2_u8 {
            // Forged requests: one in each round, and two that come all the time.
            for number in 0..60 {
                requests.handle_datagram(now, &request(round * 60 + number));
                requests.handle_datagram(now, &request(200));
                requests.handle_datagram(now, &request(201));
            }
            requests.handle_datagram(now, &request(250));
            now = requests.poll_timeout().unwrap();
            if round == 0 {
                assert_eq!(requests.handle_timeout(now), Choice::Repeat);
                requests.note_hello(now);
            }
        }
        assert_eq!(requests.handle_timeout(now), Choice::Heed(request(250)));
    }

    #[test]
    fn with_noise_the_only_one_must_come_again() {
        let now = Instant::now();
        let mut requests = Requests::new(now, Duration::from_millis(60), EngineVersion::Auto);
        requests.handle_datagram(now, &request(7));
        requests.note_noise();
        let due = requests.poll_timeout().unwrap();
        assert_eq!(requests.handle_timeout(due), Choice::Repeat);
        requests.note_hello(due);
        requests.handle_datagram(due, &request(7));
        let due = requests.poll_timeout().unwrap();
        assert_eq!(requests.handle_timeout(due), Choice::Heed(request(7)));
    }

    #[test]
    fn those_of_one_datagram_do_not_push_the_servers_out() {
        let now = Instant::now();
        let mut requests = Requests::new(now, Duration::from_millis(60), EngineVersion::Auto);
        requests.handle_datagram(now, &request(250));
        let many: Vec<u8> = (0..200).flat_map(request).collect();
        requests.handle_datagram(now, &many);
        assert_eq!(requests.candidates.len(), 2);
        assert_eq!(requests.candidates[0].datagram, request(250));
    }

    #[test]
    fn one_that_comes_late_is_heeded_a_little_later() {
        let now = Instant::now();
        let mut requests = Requests::new(now, Duration::from_millis(2), EngineVersion::Auto);
        let due = requests.poll_timeout().unwrap();
        assert_eq!(requests.handle_timeout(due), Choice::Wait);
        assert_eq!(requests.poll_timeout(), None);
        let late = now + Duration::from_millis(40);
        requests.handle_datagram(late, &request(1));
        let due = requests.poll_timeout().unwrap();
        assert!(due <= late + SHORT);
        assert_eq!(requests.handle_timeout(due), Choice::Heed(request(1)));
    }
}
