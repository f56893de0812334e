//! Cache of STUN servers' answers about a mux's sockets: one request for all connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Answers by our address and the server's.
#[derive(Debug, Default)]
pub(crate) struct ReflexiveCache {
    entries: Mutex<HashMap<(SocketAddr, SocketAddr), Entry>>,
}

#[derive(Debug)]
enum Entry {
    Known(SocketAddr, Instant),
    Asking(Vec<oneshot::Sender<SocketAddr>>),
}

/// State of a cached answer.
pub(crate) enum CachedAnswer {
    /// The mapped address is known.
    Address(SocketAddr),
    /// Another connection is asking; this resolves to the answer, or to an error if that connection gives up.
    Pending(oneshot::Receiver<SocketAddr>),
    /// No answer, and no request under way: the caller must ask, and [store](ReflexiveCache::store) the answer.
    Unknown,
}

impl ReflexiveCache {
    pub(crate) fn look_up(
        &self,
        now: Instant,
        host: SocketAddr,
        server: SocketAddr,
    ) -> CachedAnswer {
        let mut entries = self.lock();
        entries.retain(|_, entry| !matches!(entry, Entry::Known(_, since) if now.saturating_duration_since(*since) > KEPT));
        if let Some(Entry::Asking(waiting)) = entries.get_mut(&(host, server)) {
            // Remove waiters that have given up.
            waiting.retain(|waiter| !waiter.is_closed());
            let (tell, told) = oneshot::channel();
            waiting.push(tell);
            return CachedAnswer::Pending(told);
        }
        if let Some(Entry::Known(address, _)) = entries.get(&(host, server)) {
            return CachedAnswer::Address(*address);
        }
        entries.insert((host, server), Entry::Asking(Vec::new()));
        CachedAnswer::Unknown
    }

    /// Stores the answer and passes it to the waiting connections. Without an answer, they ask for themselves.
    pub(crate) fn store(
        &self,
        now: Instant,
        host: SocketAddr,
        server: SocketAddr,
        mapped: Option<SocketAddr>,
    ) {
        let mut entries = self.lock();
        let before = match mapped {
            Some(mapped) => entries.insert((host, server), Entry::Known(mapped, now)),
            None => entries.remove(&(host, server)),
        };
        drop(entries);
        if let (Some(mapped), Some(Entry::Asking(waiting))) = (mapped, before) {
            for waiter in waiting {
                _ = waiter.send(mapped);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SocketAddr, SocketAddr), Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time for which an answer is valid: NATs usually keep an unused mapping for at least 30 s (RFC 4787 §4.3 wants 2
/// min).
const KEPT: Duration = Duration::from_secs(20);
