//! What a client shows that has lost its socket and wants to go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callboard_room_supervisor::Close;
use tokio::time::Instant;

use crate::attachment::Attachment;

/// Resumption tokens of one route: the good ones with their peers, and those of clients that were closed for good, with the close code.
///
/// Only their digests are kept and compared: how long a lookup takes says nothing about a token, and who reads the
/// server's memory learns none.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Table>);

#[derive(Default)]
struct Table {
    good: HashMap<Digest, Weak<Attachment>>,
    /// Until when they are remembered.
    closed: HashMap<Digest, (Close, Instant)>,
}

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
        self.lock().good.insert(digest, attachment);
        (token, digest)
    }

    pub(crate) fn revoke(&self, digest: Digest) {
        self.lock().good.remove(&digest);
    }

    /// Whose this token is. It may be used up by the time one asks the peer.
    pub(crate) fn find(&self, digest: Digest) -> Option<Arc<Attachment>> {
        self.lock().good.get(&digest)?.upgrade()
    }

    /// The peer of this token is closed for good, which its client may not have heard.
    pub(crate) fn close(&self, digest: Digest, close: Close, until: Instant) {
        let mut table = self.lock();
        if table.closed.len() >= MAX_CLOSED {
            let now = Instant::now();
            table.closed.retain(|_, (_, until)| *until > now);
        }
        // The others learn it when they join afresh, or never.
        if table.closed.len() < MAX_CLOSED {
            table.closed.insert(digest, (close, until));
        }
    }

    /// How the peer of this token was closed, if that was for good and not long ago.
    pub(crate) fn closed(&self, digest: Digest) -> Option<Close> {
        let table = self.lock();
        let (close, until) = table.closed.get(&digest)?;
        (*until > Instant::now()).then_some(*close)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().good.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many clients are remembered that were closed for good.
const MAX_CLOSED: usize = 4_096;
/// Random bytes in a token: beyond guessing, with a margin over the 16 that would do.
const SECRET: usize = 32;
