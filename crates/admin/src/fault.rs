//! Faults that can be injected, and the errors of it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A fault to inject into a node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// The node's [path](crate::Tree::path).
    pub path: String,
    /// Kind of the fault.
    pub fault: FaultKind,
    /// For [`FaultKind::Lose`]: the part to lose, from 0 (none from now on) to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

impl FaultOrder {
    /// Creates an order for this fault at this node.
    pub fn new(path: impl Into<String>, fault: FaultKind) -> Self {
        Self { path: path.into(), fault, ratio: None }
    }

    /// Creates an order to lose this part of the datagrams of the node's peer connection.
    pub fn lose(path: impl Into<String>, ratio: f64) -> Self {
        Self { path: path.into(), fault: FaultKind::Lose, ratio: Some(ratio) }
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
    /// The actor is dropped at once, without a callback.
    Kill,
    /// The handshake under way is ended: its peer connection fails. Applies to a handshake, its peer connection, or the
    /// peer that the peer connection is shown below.
    FailHandshake,
    /// A part of the datagrams is lost, in both directions. Applies to a peer connection, or the peer that it is shown
    /// below.
    Lose,
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
}
