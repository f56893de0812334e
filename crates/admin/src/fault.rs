//! Faults that can be injected, and the errors of it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A fault to inject into a node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// Node of the cluster whose tree it is; none: this one. Others only with
    /// `AdminBuilder::all_nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's [path](crate::Tree::path); empty for a fault of a node of the cluster as a whole.
    #[serde(default)]
    pub path: String,
    /// Kind of the fault.
    pub fault: FaultKind,
    /// For [`FaultKind::Lose`]: the part to lose, from 0 (none from now on) to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// For [`FaultKind::Cut`]: how long it lasts, in seconds, 600 at most. Default: 20, longer than a session holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// For [`FaultKind::Move`]: the node of the cluster to which the room goes. Default: of the others that take rooms,
    /// the one with the fewest, and of several the first by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl FaultOrder {
    /// Creates an order for this fault at this node.
    pub fn new(path: impl Into<String>, fault: FaultKind) -> Self {
        Self { node: None, path: path.into(), fault, ratio: None, seconds: None, to: None }
    }

    /// Creates an order for a fault of a node of the cluster as a whole: [`FaultKind::Drain`], [`FaultKind::Cut`] or
    /// [`FaultKind::Kill`].
    pub fn of_node(node: impl Into<String>, fault: FaultKind) -> Self {
        Self::new("", fault).at_node(node)
    }

    /// Creates an order to lose this part of the datagrams of the node's peer connection.
    pub fn lose(path: impl Into<String>, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..Self::new(path, FaultKind::Lose) }
    }

    /// Creates an order to move the room at this path, its actor or the supervisor of that, to another node of the
    /// cluster: the one with the fewest rooms, unless [`to`](Self::to) is set.
    pub fn move_room(path: impl Into<String>) -> Self {
        Self::new(path, FaultKind::Move)
    }

    /// Returns the path, or words for the node as a whole, for the log.
    pub(crate) fn target(&self) -> &str {
        if self.path.is_empty() { "the node as a whole" } else { &self.path }
    }

    /// Sets the node of the cluster in whose tree it is.
    pub fn at_node(self, node: impl Into<String>) -> Self {
        Self { node: Some(node.into()), ..self }
    }
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// The actor panics, as if one of its handlers had.
    Panic,
    /// The actor is asked to stop. Only a permanent one is restarted.
    Stop,
    /// The actor is dropped at once, without a callback. Of a node of the cluster: its process is aborted.
    Kill,
    /// The handshake under way is ended: its peer connection fails. Applies to a handshake, its peer connection, or the
    /// peer that the peer connection is shown below.
    FailHandshake,
    /// A part of the datagrams is lost, in both directions. Applies to a peer connection, or the peer that it is shown
    /// below.
    Lose,
    /// A node of the cluster is drained, by what `AdminBuilder::drain` was given: its clients and rooms go to other
    /// nodes, and its process ends.
    Drain,
    /// A node of the cluster is cut off from the others and from their engine for a while: nothing passes, and no
    /// connection ends.
    Cut,
    /// A room goes to another node of the cluster, by what `AdminBuilder::move_room` was given, and its members stay.
    /// Applies to the room's actor, or its supervisor, at the node that runs the room. It is injected when the room has
    /// moved.
    Move,
}

/// Reason why a fault was not injected.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FaultError {
    /// There is no node at this path.
    #[error("no actor is at {0}")]
    NotFound(String),
    /// The actor is not running.
    #[error("{0} does not run")]
    NotRunning(String),
    /// A root has no supervisor that would restart it.
    #[error("a root has no supervisor to restart it")]
    Root,
    /// The node has no peer connection.
    #[error("{0} has no peer connection")]
    NoConnection(String),
    /// The handshake of the peer connection is over, or has not begun.
    #[error("no handshake runs: it is over, or has not begun")]
    NoHandshake,
    /// The ratio of the loss is missing.
    #[error("`lose` needs a ratio")]
    NoRatio,
    /// The ratio is not between 0 and 1.
    #[error("{0} is not between 0 and 1")]
    BadRatio(f64),
    /// The fault is one of a node of the cluster, and the order names an actor.
    #[error("this fault is of a node as a whole: leave `path` out")]
    OfNode,
    /// The node does not allow faults of it as a whole (`AdminBuilder::node_faults`).
    #[error("this node allows no faults of it as a whole")]
    NodeFaultsOff,
    /// The node cannot be drained (`AdminBuilder::drain`).
    #[error("this server cannot be drained")]
    NoDrain,
    /// The node does not move rooms (`AdminBuilder::move_room`).
    #[error("this node moves no rooms")]
    MoveOff,
    /// What is at this path is no room that the node runs.
    #[error("this node runs no room at {0}")]
    NoSuchRoom(String),
    /// No other node of the cluster takes rooms, as far as is known.
    #[error("no other node takes rooms")]
    NoOtherNode,
    /// The room stays where it is, for this reason: that of `MoveRoomError` of `callboard-room-supervisor`.
    #[error("the room was not moved: {0}")]
    NotMoved(String),
    /// The room has neither moved nor been refused within 15 s: it goes on moving.
    #[error("the room is still being moved")]
    StillMoving,
    /// The time of a cut is not between 0 and 600 s.
    #[error("{0} is not between 0 and 600 seconds")]
    BadTime(f64),
    /// Other nodes are not shown (`AdminBuilder::all_nodes`).
    #[error("this server does not show other nodes")]
    OneNode,
    /// The cluster has no such node.
    #[error("there is no node {0}")]
    NoSuchNode(String),
    /// The node has not answered: the fault was injected or not.
    #[error("node {0} does not answer")]
    NoAnswer(String),
    /// The node has refused.
    #[error("{detail}")]
    Elsewhere {
        /// HTTP status of the same refusal at that node.
        status: u16,
        /// Word for the error, as the route answers it.
        error: String,
        /// What is wrong.
        detail: String,
    },
}
