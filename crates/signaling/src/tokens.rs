//! What a client shows that has lost its socket and wants to go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::attachment::Attachment;

/// The tokens of one route that are good now, and whose they are.
///
/// Only their digests are kept and compared: how long a lookup takes says nothing about a token, and who reads the
/// server's memory learns none.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Digest, Weak<Attachment>>>);

/// The SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Tokens {
    /// A new token for this peer, which holds it until it [revokes](Self::revoke) it.
    pub(crate) fn issue(&self, attachment: Weak<Attachment>) -> (String, Digest) {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret).expect("the operating system has random bytes");
        let token = URL_SAFE_NO_PAD.encode(secret);
        let digest = Digest::of(&token);
        self.lock().insert(digest, attachment);
        (token, digest)
    }

    pub(crate) fn revoke(&self, digest: Digest) {
        self.lock().remove(&digest);
    }

    /// Whose this token is. It may be used up by the time one asks the peer.
    pub(crate) fn find(&self, digest: Digest) -> Option<Arc<Attachment>> {
        self.lock().get(&digest)?.upgrade()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Attachment>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random bytes in a token: beyond guessing, with a margin over the 16 that would do.
const SECRET: usize = 32;
