//! Session resumption tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callboard_outbox::CloseFrame;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Resumption tokens of one route: the valid ones with their links, and those of clients that were closed for good,
/// with the close code.
///
/// Only their digests are stored and compared: the time of a lookup says nothing about a token, and a reader of the
/// server's memory learns none.
pub struct TokenTable<T> {
    table: Mutex<Table<T>>,
    /// What each token begins with, in a cluster.
    prefix: Option<String>,
}

struct Table<T> {
    good: HashMap<TokenDigest, Weak<T>>,
    /// Clients that were closed for good, with the time until which they are remembered.
    closed: HashMap<TokenDigest, (CloseFrame, Instant)>,
}

/// SHA-256 digest of a token; base64 as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Computes the digest of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl From<TokenDigest> for String {
    fn from(TokenDigest(digest): TokenDigest) -> Self {
        URL_SAFE_NO_PAD.encode(digest)
    }
}

impl TryFrom<String> for TokenDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digest = URL_SAFE_NO_PAD.decode(text).ok().and_then(|digest| digest.try_into().ok());
        digest.map(Self).ok_or("no digest of a token")
    }
}

impl<T> Default for TokenTable<T> {
    fn default() -> Self {
        let table = Table { good: HashMap::new(), closed: HashMap::new() };
        Self { table: Mutex::new(table), prefix: None }
    }
}

/// Returns what the resume tokens of a node of a cluster begin with, before a full stop: 8 characters, from which no
/// one learns the node's name.
pub fn token_prefix(node: &str) -> String {
    let mut prefix = URL_SAFE_NO_PAD.encode(Sha256::digest(node));
    prefix.truncate(PREFIX);
    prefix
}

/// Returns what a token begins with, if it is one of a node of a cluster.
pub fn prefix_of_token(token: &str) -> Option<&str> {
    token.split_once('.').map(|(prefix, _)| prefix).filter(|prefix| prefix.len() == PREFIX)
}

impl<T> TokenTable<T> {
    /// Creates a table without tokens; those that it will issue say that they are of this node of a cluster.
    pub fn of_node(node: &str) -> Self {
        Self { prefix: Some(token_prefix(node)), ..Self::default() }
    }

    /// Creates a new token for this link, valid until the link [revokes](Self::revoke) it.
    pub(crate) fn issue(&self, link: Weak<T>) -> (String, TokenDigest) {
        let mut secret = [0; SECRET];
        getrandom::fill(&mut secret).expect("the operating system has random bytes");
        let mut token = URL_SAFE_NO_PAD.encode(secret);
        if let Some(prefix) = &self.prefix {
            token = format!("{prefix}.{token}");
        }
        let digest = TokenDigest::of(&token);
        self.lock().good.insert(digest, link);
        (token, digest)
    }

    /// Makes a token of an earlier process valid again.
    pub(crate) fn restore(&self, digest: TokenDigest, link: Weak<T>) {
        self.lock().good.insert(digest, link);
    }

    /// Makes a token invalid.
    pub(crate) fn revoke(&self, digest: TokenDigest) {
        self.lock().good.remove(&digest);
    }

    /// Returns the link that this token belongs to. The token may be used up by the time the link is asked.
    pub fn find(&self, digest: TokenDigest) -> Option<Arc<T>> {
        self.lock().good.get(&digest)?.upgrade()
    }

    /// Notes that the link of this token is closed for good, which its client may not have been told.
    pub(crate) fn close(&self, digest: TokenDigest, close: CloseFrame, until: Instant) {
        let mut table = self.lock();
        if table.closed.len() >= MAX_CLOSED {
            let now = Instant::now();
            table.closed.retain(|_, (_, until)| *until > now);
        }
        // Other clients learn it when they join anew, or never.
        if table.closed.len() < MAX_CLOSED {
            table.closed.insert(digest, (close, until));
        }
    }

    /// Returns how the link of this token was closed, if that was for good and not long ago.
    pub fn closed(&self, digest: TokenDigest) -> Option<CloseFrame> {
        let table = self.lock();
        let (close, until) = table.closed.get(&digest)?;
        (*until > Instant::now()).then(|| close.clone())
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().good.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of remembered clients that were closed for good.
const MAX_CLOSED: usize = 4_096;
/// Length of what names a node in a token.
const PREFIX: usize = 8;
/// Random bytes in a token: beyond guessing, with a margin over the 16 that would be enough.
const SECRET: usize = 32;
