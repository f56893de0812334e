//! Peer connections with the actors that own them, for tools that show them together.

use crate::event::PeerConnectionId;
use crate::pool::PeerConnections;

/// Peer connections with the actors that own them.
pub trait ConnectionOwners: Send + Sync + 'static {
    /// Returns the pool that the peer connections run in.
    fn connections(&self) -> &PeerConnections;

    /// Returns the ids of the actors that own a peer connection now, each with its peer connection.
    fn owned(&self) -> Vec<(String, PeerConnectionId)>;
}

/// Beginning of the id of an actor that owns the peer connection of another one, beside which it runs; the id of that
/// one follows.
pub const OWNER_PREFIX: &str = "webrtc:";
