//! Fault injection into a node of the tree, by its path.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use callboard_supervision::{ExitReason, Fault, SupervisorRef, TreeSnapshot};
use tokio::time::{Instant, sleep, timeout};

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
        if order.path.is_empty() {
            return self.inject_as_whole(order);
        }
        if order.fault == FaultKind::Move {
            return self.move_room(order).await;
        }
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
            FaultKind::Drain | FaultKind::Cut | FaultKind::Move => return Err(FaultError::OfNode),
        };
        let parent = parent.ok_or(FaultError::Root)?;
        if node.instance.is_none() || node.uptime.is_none() {
            return Err(not_running());
        }
        self.expect_down(&node, order.fault);
        parent.inject(&node.id, fault).await.map_err(|_| not_running())
    }

    /// Moves the room at the order's path to another node.
    async fn move_room(&self, order: &FaultOrder) -> Result<(), FaultError> {
        let nodes = &self.inner.nodes;
        if !nodes.moves_rooms() {
            return Err(FaultError::MoveOff);
        }
        let (_, found) = self.find(&order.path)?;
        let mut actors = iter::once(&found).chain(&found.children);
        let room = actors.find_map(|actor| nodes.room_of(actor));
        let room = room.ok_or_else(|| FaultError::NoSuchRoom(order.path.clone()))?;
        let moved = nodes.move_room(room, order.to.as_deref());
        timeout(MOVE_TIME, moved).await.unwrap_or(Err(FaultError::StillMoving))
    }

    /// Injects a fault into this node of the cluster as a whole.
    fn inject_as_whole(&self, order: &FaultOrder) -> Result<(), FaultError> {
        if order.fault == FaultKind::Drain {
            let drain = self.inner.drain.as_ref().ok_or(FaultError::NoDrain)?;
            drain();
            return Ok(());
        }
        if !matches!(order.fault, FaultKind::Cut | FaultKind::Kill) {
            return Err(FaultError::NotFound(String::new()));
        }
        if !self.inner.node_faults {
            return Err(FaultError::NodeFaultsOff);
        }
        // It lets the order be answered before.
        if order.fault == FaultKind::Kill {
            actix::spawn(async {
                sleep(ANSWERED).await;
                std::process::abort();
            });
            return Ok(());
        }
        let seconds = order.seconds.unwrap_or(CUT);
        if !(0.0..=LONGEST_CUT).contains(&seconds) {
            return Err(FaultError::BadTime(seconds));
        }
        let (nodes, time) = (Arc::clone(&self.inner), Duration::from_secs_f64(seconds));
        actix::spawn(async move {
            sleep(ANSWERED).await;
            nodes.nodes.cut_off(time);
        });
        Ok(())
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
/// Time in which an order is answered, before the node is not reached any more.
const ANSWERED: Duration = Duration::from_millis(200);
/// Longest time for a move of a room, until its order is answered.
pub(crate) const MOVE_TIME: Duration = Duration::from_secs(15);
/// Time for which a node is cut off, unless the order says otherwise, and at most: in seconds.
const CUT: f64 = 20.0;
const LONGEST_CUT: f64 = 600.0;
