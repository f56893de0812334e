//! What a route keeps of its peers for the process that replaces this one: the way to each, and the record of each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use callboard_room_supervisor::{GivenPeer, KeptPeer, Snapshot};
use callboard_websocket::{Resumption, SocketLink, TokenDigest};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

/// Command to a peer that is handed over.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum PeerCommand {
    /// Asks its client to come back to another process. The sender is dropped when the client has gone.
    Disconnect(oneshot::Sender<()>),
    /// Stops the peer: none of its callbacks is called any more.
    Keep(oneshot::Sender<Option<KeptPeer>>),
    /// Lets it go on.
    GoOn,
    /// Stops the peer, because its client has come to another node with this token.
    Give(TokenDigest, oneshot::Sender<Option<GivenPeer>>),
}

/// Record of a peer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) address: IpAddr,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) max_message: usize,
    pub(crate) resumption: Resumption,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Snapshot>,
}

/// Running peers of a route whose clients may come back, by the addresses of their socket links in memory.
#[derive(Default)]
pub(crate) struct RunningPeers {
    peers: Mutex<HashMap<usize, Recipient<PeerCommand>>>,
    /// Wakes those that wait for one.
    added: Notify,
    /// Those that run, and those that are about to: for the first time, or again after a crash.
    held: AtomicUsize,
    /// Wakes those that wait until there is none.
    released: Notify,
}

/// A peer that is counted, from before its first instance begins until its last has ended.
pub(crate) struct HeldPeer(Arc<RunningPeers>);

impl Drop for HeldPeer {
    fn drop(&mut self) {
        if self.0.held.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.released.notify_waiters();
        }
    }
}

impl RunningPeers {
    /// Counts a peer until the guard is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> HeldPeer {
        self.held.fetch_add(1, Ordering::AcqRel);
        HeldPeer(Arc::clone(self))
    }

    pub(crate) fn add(&self, link: &Arc<SocketLink>, commands: Recipient<PeerCommand>) {
        self.lock().insert(key(link), commands);
        self.added.notify_waiters();
    }

    pub(crate) fn remove(&self, link: &Arc<SocketLink>) {
        self.lock().remove(&key(link));
    }

    /// Resolves when there is no peer.
    pub(crate) async fn left(&self) {
        loop {
            // Before the look, so that no change is missed.
            let released = self.released.notified();
            if self.held.load(Ordering::Acquire) == 0 {
                return;
            }
            released.await;
        }
    }

    /// Resolves with the peer behind a socket link when it runs.
    pub(crate) async fn started(&self, link: &Arc<SocketLink>) -> Recipient<PeerCommand> {
        loop {
            let added = self.added.notified();
            if let Some(peer) = self.get(link) {
                return peer;
            }
            added.await;
        }
    }

    /// Returns the peer behind a socket link.
    fn get(&self, link: &Arc<SocketLink>) -> Option<Recipient<PeerCommand>> {
        self.lock().get(&key(link)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Recipient<PeerCommand>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Recipient<PeerCommand>>> {
        // Every change is one insertion or removal.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(link: &Arc<SocketLink>) -> usize {
    Arc::as_ptr(link).addr()
}
