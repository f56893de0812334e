//! Fault injection into a node of the tree, by its path.

use callboard_peer_connection::messages::InjectLoss;
use callboard_peer_connection::{PeerConnectionHandle, PeerConnectionId};
use callboard_supervision::{ExitReason, Fault, SupervisorRef, TreeSnapshot};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use super::Admin;
use crate::server_peer::SERVER_PEER;

/// A fault to inject into a node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// The node's [path](super::Tree::path).
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

impl Admin {
    /// Injects a fault into the tree. Completes when it is injected, not when its effect is over: see
    /// [`recoveries`](Self::recoveries).
    ///
    /// # Errors
    /// [`FaultError`]
    pub async fn inject(&self, order: &FaultOrder) -> Result<(), FaultError> {
        let (parent, node) = self.find(&order.path)?;
        let not_running = || FaultError::NotRunning(order.path.clone());
        let fault = match order.fault {
            FaultKind::Panic => Fault::Panic(WHY.to_owned()),
            FaultKind::Kill => Fault::Kill,
            FaultKind::Stop => Fault::Exit(ExitReason::Shutdown(Some(WHY.to_owned()))),
            FaultKind::FailHandshake => return self.fail_handshake(&node).await,
            FaultKind::Lose => {
                let ratio = order.ratio.ok_or(FaultError::NoRatio)?;
                let connection = self.connection_of(&node)?;
                let lost =
                    connection.send(InjectLoss { ratio }).await.map_err(|_| not_running())?;
                return lost.map_err(|_| FaultError::BadRatio(ratio));
            }
        };
        let parent = parent.ok_or(FaultError::Root)?;
        if node.instance.is_none() || node.uptime.is_none() {
            return Err(not_running());
        }
        self.expect_down(&node, order.fault);
        parent.inject(&node.id, fault).await.map_err(|_| not_running())
    }

    async fn fail_handshake(&self, node: &TreeSnapshot) -> Result<(), FaultError> {
        let connection = self.connection_of(node)?.id();
        let connections = self.inner.connections.as_ref().ok_or(FaultError::NoHandshake)?;
        let (handshakes, name) = (connections.handshakes(), connection.to_string());
        let handshake = handshakes.snapshot();
        let handshake = handshake.find(&[&name]).ok_or(FaultError::NoHandshake)?;
        self.expect_down(handshake, FaultKind::FailHandshake);
        handshakes.terminate_child(&name).await.map_err(|_| FaultError::NoHandshake)
    }

    fn expect_down(&self, node: &TreeSnapshot, fault: FaultKind) {
        self.inner.table().expect_down(node, fault, Instant::now());
    }

    /// Returns the node at this path, and its supervisor; a root has none.
    fn find(&self, path: &str) -> Result<(Option<SupervisorRef>, TreeSnapshot), FaultError> {
        let not_found = || FaultError::NotFound(path.to_owned());
        for (root, snapshot) in self.inner.trees() {
            let Some(node) = at(&snapshot, path) else { continue };
            let names: Vec<&str> = node.path.names().skip(root.path().names().len()).collect();
            let Some((_, above)) = names.split_last() else { return Ok((None, node.clone())) };
            let parent = above.iter().try_fold(root, |parent, name| parent.supervisor(name));
            return Ok((Some(parent.map_err(|_| not_found())?), node.clone()));
        }
        Err(not_found())
    }

    /// Returns the peer connection that this node is, whose handshake it is, or that is shown below it.
    fn connection_of(&self, node: &TreeSnapshot) -> Result<PeerConnectionHandle, FaultError> {
        let none = || FaultError::NoConnection(node.path.to_string());
        let connections = self.inner.connections.as_ref().ok_or_else(none)?;
        let by_name = node.id.parse().ok().map(PeerConnectionId);
        let below = self.inner.owned().into_iter().filter(|(owner, _)| {
            *owner == *node.id || owner.strip_prefix(SERVER_PEER) == Some(&*node.id)
        });
        let mut found = by_name.into_iter().chain(below.map(|(_, connection)| connection));
        found.find_map(|id| connections.get(id)).ok_or_else(none)
    }
}

fn at<'a>(tree: &'a TreeSnapshot, path: &str) -> Option<&'a TreeSnapshot> {
    if tree.path.to_string() == path {
        return Some(tree);
    }
    tree.children.iter().find_map(|child| at(child, path))
}

/// Message of an injected panic, and reason of an injected stop.
const WHY: &str = "injected by an operator";
