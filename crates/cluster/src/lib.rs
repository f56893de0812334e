//! Rooms of many nodes: each room is run by one node at a time, which every node can tell.
//!
//! The nodes of a cluster share a [`Directory`]. A node [enters](Cluster) it with a session, which it renews again and
//! again, and [claims](Cluster::claim) the rooms that it runs. A [`Hold`] is the right to run a room; its
//! [epoch](Hold::epoch) is a fencing token. A room that another node runs is refused with
//! [where it is](ClaimError::Elsewhere).
//!
//! ```
//! use callboard_cluster::*;
//!
//! # #[actix::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In place of it: a directory that other machines reach.
//! let directory = Embedded::new();
//! let a1 = Cluster::builder(directory.clone()).node("a1").url("wss://a1.example.org").build()?;
//! let b2 = Cluster::builder(directory).node("b2").build()?;
//! let (a1_tree, b2_tree) = (a1.start().await?, b2.start().await?);
//!
//! let hold = a1.claim("demo").await?;
//! assert!(hold.is_good());
//!
//! let Err(ClaimError::Elsewhere(there)) = b2.claim("demo").await else { panic!("it is free") };
//! assert_eq!(there.url.as_deref(), Some("wss://a1.example.org"));
//!
//! // A node that is stopped leaves the cluster, and its rooms are free at once.
//! a1_tree.stop().await;
//! assert!(!hold.is_good());
//! let taken = b2.claim("demo").await?;
//! assert!(taken.epoch() > hold.epoch());
//! # b2_tree.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! * No two nodes hold a room at once, and of two holds of a room the later has the greater epoch. Nodes may fail or
//!   stand still, the network may be cut, answers may be lost or come late. Needed: the directory keeps what it has
//!   acknowledged, and each machine's boot clock runs at a rate within 10 % of the true one.
//! * A process that stood still, or slept with its machine, for longer than its session holds, holds nothing when it
//!   goes on.
//! * A directory that loses its last records, or all of them, is filled again by the nodes that see it happen; until
//!   then no room changes hands among them.
//! * Nodes may have different [holds](ClusterBuilder::hold): a node waits for the end of the longer one.
//! * Changes of the directory that come late, or do not come, cost time alone: outcomes of compare-and-swap and the
//!   node's own clock say what it may do, and a stream of changes that says nothing is replaced.
//! * A room goes from one node to another by the will of both ([`Cluster::give`], [`Cluster::expect`]): with one
//!   compare-and-swap, before which the one has it, and after which the other.
//! * While the directory is away, what is held stays held until the session ends; what is not held is refused as
//!   [unavailable](ClaimError::Unavailable), and never given to this node as a way out.

mod actor;
mod boot_time;
mod clock;
mod cluster;
mod core;
mod cut;
mod directory;
mod embedded;
mod error;
mod facts;
mod give;
mod hold;
mod line;
mod liveness;
mod messages;
#[cfg(feature = "nats")]
mod nats;
mod node_id;
mod nodes;
mod placement;
mod presence;
mod record;
mod requests;
mod shared;
mod topics;
mod watches;
mod wire;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, ClusterBuilder};
pub use directory::{Change, Directory, DirectoryError, Key, Whole};
pub use embedded::Embedded;
pub use error::{BuildError, ClaimError, Elsewhere, GiveError};
pub use facts::ClusterFacts;
pub use give::{Expected, Gave};
pub use hold::Hold;
pub use line::{KeptLine, LineError, LineEvent, LineFacts, LineId, Lines, Served, ServiceTaken};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsError, NatsOptions, NatsWire};
pub use node_id::{Incarnation, NodeId, NodeIdError};
pub use nodes::NodeView;
pub use placement::{Candidate, Hash, LeastLoad, Local, RoomPlacement};
pub use presence::{
    MissedChanges, Presence, PresenceChange, PresenceChanges, PresenceError, Present, Tracked,
};
pub use record::{Claim, Epoch, Given, Gone, Holder, Revision, Session, SessionState};
pub use requests::{IncomingRequest, IncomingRequests, NoAnswer, Requests};
pub use topics::{MissedPublications, Publication, PublishError, Subscription};
pub use wire::{Arrival, MemoryWire, Wire, WireFaults};
