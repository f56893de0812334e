//! First hellos of clients, and the requests for a cookie that answer them (RFC 6347 §4.2.1, RFC 9147 §5.1). Before a
//! client has shown its cookie, the server keeps next to nothing about it.
//!
//! The cookie is the same for every hello, since the real client cannot know which hello a request answers. A request
//! is made without an engine, and is identical to the one that an engine would make: its bytes are part of what DTLS
//! 1.3 hashes. So is the first hello, which is found again from the content of the second.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use super::hello::{Hello, without_cookie};
use super::records::{HELLO_RETRY_RANDOM, HELLO_VERIFY_REQUEST, SERVER_HELLO, as_datagram};

/// First hellos of one handshake, which came before a cookie was shown.
#[derive(Default)]
pub(super) struct FirstHellos {
    /// First hellos, the latest last: their hashes, and the bodies of some.
    known: VecDeque<u64>,
    bodies: VecDeque<Vec<u8>>,
    hasher: RandomState,
}

impl FirstHellos {
    /// Notes a hello without a cookie. Returns whether it has come before.
    pub(super) fn note(&mut self, body: &[u8]) -> bool {
        let hash = self.hasher.hash_one(body);
        let known = self.known.contains(&hash);
        if !known {
            if self.known.len() >= KNOWN {
                self.known.pop_front();
            }
            self.known.push_back(hash);
        }
        if !self.bodies.iter().any(|known| known == body) {
            self.bodies.push_back(body.to_vec());
            while self.bodies.iter().map(Vec::len).sum::<usize>() > BODIES && self.bodies.len() > 1
            {
                self.bodies.pop_front();
            }
        }
        known
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns whether the first hello of the client that has sent this one, which shows a cookie, has arrived
    /// unchanged.
    pub(super) fn knows_first_of(&self, body: &[u8]) -> bool {
        without_cookie(body).iter().any(|first| self.knows(first))
    }

    /// Returns candidates for the first hello of this one's client, the likeliest first.
    pub(super) fn firsts_of(&self, body: &[u8]) -> Vec<Vec<u8>> {
        let candidates = without_cookie(body);
        if let Some(first) = candidates.iter().find(|first| self.knows(first)) {
            return vec![first.clone()];
        }
        // The client's stack changes more between its hellos; or the first hello was lost, and a forged one has
        // arrived.
        let random = Hello::parse(body).map(|hello| hello.random);
        let came = self.bodies.iter().rev().filter(|body| body.get(2..34) == random).cloned();
        let (came, guess) = (came.collect::<Vec<_>>(), candidates.into_iter().next());
        match came.len() {
            1 => came.into_iter().chain(guess).collect(),
            _ => guess.into_iter().chain(came.into_iter().take(1)).collect(),
        }
    }

    fn knows(&self, first: &[u8]) -> bool {
        self.known.contains(&self.hasher.hash_one(first))
    }
}

/// Returns a request to show this cookie, in DTLS 1.2.
pub(super) fn hello_verify_request(cookie: &[u8; 32]) -> Bytes {
    as_datagram(HELLO_VERIFY_REQUEST, 0, &[&[0xfe, 0xff, 32][..], cookie].concat())
}

/// Returns a request to show this cookie, in DTLS 1.3. The cipher suite is the one that every client must have (RFC
/// 8446 §9.1).
pub(super) fn hello_retry_request(cookie: &[u8; 32]) -> Bytes {
    let mut body = vec![0xfe, 0xfd];
    body.extend(HELLO_RETRY_RANDOM);
    // No session, TLS_AES_128_GCM_SHA256, no compression; extensions: supported_versions, cookie.
    body.extend([0, 0x13, 0x01, 0, 0, 44, 0, 43, 0, 2, 0xfe, 0xfc, 0, 44, 0, 34, 0, 32]);
    body.extend(cookie);
    as_datagram(SERVER_HELLO, 0, &body)
}

/// Hashes of first hellos: those of one second, at a thousand a second, and more that are put together from fragments.
const KNOWN: usize = 2_048;
/// Bytes of first hellos that are kept whole.
const BODIES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(random: u8, cookie: &[u8], length: usize) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([random; 32]);
        body.extend([0, cookie.len() as u8]);
        body.extend(cookie);
        body.extend([0, 2, 0x13, 1, 1, 0]);
        body.extend((length as u16 + 4).to_be_bytes());
        body.extend([0, 99]);
        body.extend((length as u16).to_be_bytes());
        body.resize(body.len() + length, random);
        body
    }

    #[test]
    fn the_first_hello_is_found_behind_a_thousand_others() {
        let mut hellos = FirstHellos::default();
        assert!(!hellos.note(&hello(200, &[], 100)));
        for number in 0..1_000_u16 {
            let mut other = hello(1, &[], 1_500);
            other[4..6].copy_from_slice(&number.to_be_bytes());
            hellos.note(&other);
        }
        assert!(hellos.bodies.iter().map(Vec::len).sum::<usize>() <= BODIES);
        assert!(hellos.knows_first_of(&hello(200, &[9; 32], 100)));
        assert_eq!(hellos.firsts_of(&hello(200, &[9; 32], 100)), [hello(200, &[], 100)]);
        // The hello of a client that changes something else.
        assert!(!hellos.note(&hello(201, &[], 100)));
        assert!(hellos.note(&hello(201, &[], 100)), "it has come before");
        let other = hello(201, &[9; 32], 90);
        assert!(!hellos.knows_first_of(&other));
        assert_eq!(hellos.firsts_of(&other), [hello(201, &[], 100), hello(201, &[], 90)]);
        // The first hello was lost, and forged hellos with other content have arrived.
        hellos.note(&hello(201, &[], 80));
        assert_eq!(hellos.firsts_of(&other)[0], hello(201, &[], 90));
    }

    #[test]
    fn hashes_have_their_limit() {
        let mut hellos = FirstHellos::default();
        for number in 0..5_000_u16 {
            let mut other = hello(1, &[], 10);
            other[4..6].copy_from_slice(&number.to_be_bytes());
            hellos.note(&other);
        }
        assert_eq!(hellos.known.len(), KNOWN);
    }
}
