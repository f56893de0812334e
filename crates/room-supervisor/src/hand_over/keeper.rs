//! Keepers of peers: what knows the clients behind the members of rooms.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;

use crate::membership::Membership;
use crate::peer_id::PeerId;

/// Who keeps the peers behind some members of rooms when those are handed over
/// ([`Rooms::register_keeper`](crate::Rooms::register_keeper)). The first three calls come in this order, before the
/// process ends, or the first alone for a node that is drained; the others at any time.
pub trait PeerKeeper: Send + Sync + 'static {
    /// Disconnects the clients, so that they come back; resolves when all that they have sent was received.
    fn disconnect(&self) -> BoxFuture<'static, ()>;

    /// Stops the peers, after what they have received; returns those whose clients can come back.
    fn keep(&self) -> BoxFuture<'static, Vec<KeptPeer>>;

    /// Lets the peers go on: they are not handed over.
    fn go_on(&self);

    /// Resolves when it has no peers whose clients are here or may come back.
    /// Default: at once.
    fn left(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    /// Stops the peer of a token, whose client has come to another node of the cluster with it; none if there is no
    /// such peer, or it was given before. The keeper holds the membership for as long as something of the peer lasts.
    /// Default: none.
    fn give(&self, _token: &str) -> BoxFuture<'static, Option<GivenPeer>> {
        ready(None).boxed()
    }
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

/// A peer that goes on at another node of the cluster.
#[expect(clippy::exhaustive_structs, reason = "keepers create it")]
pub struct GivenPeer {
    /// What its keeper there needs.
    pub kept: KeptPeer,
    /// Its membership.
    pub membership: Arc<Membership>,
    /// Dropped when the other node has it, or no longer waits for it: until then this process must not end.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for GivenPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenPeer").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeptPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptPeer").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}
