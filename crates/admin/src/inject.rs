//! Fault injection into a node of the tree, by its path.

use callboard_supervision::{ExitReason, Fault, SupervisorRef, TreeSnapshot};
use tokio::time::Instant;

use crate::admin::Admin;
use crate::fault::{FaultError, FaultKind, FaultOrder};

impl Admin {
    /// Injects a fault into the tree. Completes when it is injected, not when its effect is over: see
    /// [`recoveries`](Self::recoveries).
    ///
    /// # Errors
    /// [`FaultError`]
    pub async fn inject(&self, order: &FaultOrder) -> Result<(), FaultError> {
        match &order.node {
            Some(node) => self.inject_at(node, order).await,
            None => self.inject_here(order).await,
        }
    }

    /// Injects a fault into the tree of this node.
    pub(crate) async fn inject_here(&self, order: &FaultOrder) -> Result<(), FaultError> {
        let (parent, node) = self.find(&order.path)?;
        let not_running = || FaultError::NotRunning(order.path.clone());
        let fault = match order.fault {
            FaultKind::Panic => Fault::Panic(WHY.to_owned()),
            FaultKind::Kill => Fault::Kill,
            FaultKind::Stop => Fault::Exit(ExitReason::Shutdown(Some(WHY.to_owned()))),
            FaultKind::FailHandshake => {
                let failing = |handshake: &TreeSnapshot| self.expect_down(handshake, order.fault);
                return self.inner.webrtc.fail_handshake(&node, failing).await;
            }
            FaultKind::Lose => {
                let ratio = order.ratio.ok_or(FaultError::NoRatio)?;
                return self.inner.webrtc.lose(&node, ratio).await;
            }
        };
        let parent = parent.ok_or(FaultError::Root)?;
        if node.instance.is_none() || node.uptime.is_none() {
            return Err(not_running());
        }
        self.expect_down(&node, order.fault);
        parent.inject(&node.id, fault).await.map_err(|_| not_running())
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
}

fn at<'a>(tree: &'a TreeSnapshot, path: &str) -> Option<&'a TreeSnapshot> {
    if tree.path.to_string() == path {
        return Some(tree);
    }
    tree.children.iter().find_map(|child| at(child, path))
}

/// Message of an injected panic, and reason of an injected stop.
const WHY: &str = "injected by an operator";
