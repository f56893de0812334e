//! Wire: what carries datagrams between the nodes of a cluster.

mod memory;

use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use self::memory::{MemoryWire, WireFaults};
use crate::node_id::NodeId;

/// What carries datagrams between the nodes of a cluster, each at most once: it may lose them, deliver them twice, late
/// or in another order, and stand still. It must not change them, nor say that they come from another node. Lines,
/// which lose nothing, are made above it.
///
/// Datagrams are of 260 KiB at most. All nodes of a cluster trust each other: a wire must be open to nodes only, never
/// to clients.
pub trait Wire: Send + Sync + 'static {
    /// Returns the datagrams that arrive for a node from now on, those to it and those to all nodes. The stream holds a
    /// bounded number of them; more are lost. It may end; then the node asks for another.
    fn arrivals(&self, here: &NodeId) -> BoxStream<'static, Arrival>;

    /// Sends a datagram to another node. Never waits: what cannot be sent at once is lost.
    fn send(&self, from: &NodeId, to: &NodeId, datagram: Bytes);

    /// Sends a datagram to all other nodes. Never waits: what cannot be sent at once is lost. A node may get its own
    /// datagrams, too.
    fn broadcast(&self, from: &NodeId, datagram: Bytes);
}

/// Datagram that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "each wire makes it")]
pub struct Arrival {
    /// Node that has sent it.
    pub from: NodeId,
    /// Datagram.
    pub datagram: Bytes,
}
