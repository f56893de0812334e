//! What a route keeps of its peers for the process that replaces this one: the way to each, and the record of each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use callboard_room_supervisor::{KeptPeer, PeerId, Snapshot};
use callboard_websocket::Resumption;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

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

/// Running peers of a route whose clients may come back.
#[derive(Default)]
pub(crate) struct RunningPeers(Mutex<HashMap<PeerId, Recipient<PeerCommand>>>);

impl RunningPeers {
    pub(crate) fn add(&self, peer: PeerId, commands: Recipient<PeerCommand>) {
        self.lock().insert(peer, commands);
    }

    pub(crate) fn remove(&self, peer: PeerId) {
        self.lock().remove(&peer);
    }

    pub(crate) fn all(&self) -> Vec<Recipient<PeerCommand>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Recipient<PeerCommand>>> {
        // Every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
