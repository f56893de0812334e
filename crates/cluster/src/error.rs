//! Errors of this crate, one enum for each operation that can fail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::node_id::{NodeId, NodeIdError};
use crate::record::Epoch;

/// Error of claiming a room.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another node runs the room.
    #[error("node {} runs the room", .0.node)]
    Elsewhere(Elsewhere),
    /// It is not known who may run the room: the directory does not answer, this node's session has lapsed, or the
    /// room's node may be dead. Never run the room without a claim because of this.
    #[error("it is not known who may run the room, for {retry_after:?} at least")]
    Unavailable {
        /// Time after which to try again.
        retry_after: Duration,
    },
    /// No room can have this name: it is empty, or longer than 256 bytes.
    #[error("{0:?} is no name for a room")]
    BadName(String),
}

/// Error of giving a room to another node.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveError {
    /// The hold is over, and not by the will of this node: its session has ended, or the directory has lost the claim.
    #[error("this node does not hold the room any more")]
    NotHeld,
    /// The other node is not known, takes no rooms, or is silent. The hold goes on.
    #[error("the node takes no rooms")]
    NoSuchNode,
    /// The directory is not seen at present, or the room's claim is being written. The hold goes on.
    #[error("the directory is not available")]
    Unavailable,
}

/// Where a room runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elsewhere {
    /// Node that runs the room.
    pub node: NodeId,
    /// URL at which clients reach the node, if it has one.
    pub url: Option<String>,
    /// Number of its hold.
    pub epoch: Epoch,
}

/// Error of building a cluster.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The node's name.
    #[error(transparent)]
    Node(#[from] NodeIdError),
    /// Another process has locked the file: a node of this name runs already.
    #[error("{0:?} is locked: a node of this name runs already")]
    Locked(PathBuf),
    /// The process cannot listen at its [liveness address](crate::ClusterBuilder::liveness).
    #[error("{address} cannot be listened at: {error}")]
    Liveness {
        /// Address.
        address: SocketAddr,
        /// Cause.
        error: std::io::Error,
    },
    /// The file cannot be opened or locked.
    #[error("{path:?} cannot be locked: {error}")]
    Lock {
        /// File.
        path: PathBuf,
        /// Cause.
        error: std::io::Error,
    },
}
