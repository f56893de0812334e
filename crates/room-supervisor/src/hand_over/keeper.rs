//! Keepers of peers: what knows the clients behind the members of rooms.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::peer_id::PeerId;

/// Who keeps the peers behind some members of rooms when those are handed over
/// ([`Rooms::register_keeper`](crate::Rooms::register_keeper)). The calls come in this order.
pub trait PeerKeeper: Send + Sync + 'static {
    /// Disconnects the clients, so that they come back; resolves when all that they have sent was received.
    fn disconnect(&self) -> BoxFuture<'static, ()>;

    /// Stops the peers, after what they have received; returns those whose clients can come back.
    fn keep(&self) -> BoxFuture<'static, Vec<KeptPeer>>;

    /// Lets the peers go on: they are not handed over.
    fn go_on(&self);
}

/// A peer whose client can come back to another process.
#[derive(Clone, PartialEq)]
pub struct KeptPeer {
    /// Its id.
    pub peer_id: PeerId,
    /// Name of its room.
    pub room: String,
    /// How long its client may stay away from now on.
    pub grace: Duration,
    /// What its keeper needs to know. Private: it may hold what lets a client come back.
    pub data: Value,
}

impl fmt::Debug for KeptPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptPeer").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}
