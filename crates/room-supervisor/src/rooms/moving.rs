//! Move of a room to another node of the cluster, while its peers stay where they are.

use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::{GiveError, NodeId};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Rooms, Shared};
use crate::arrivals::RoomState;
use crate::command::{CannotMove, Departure, Leave};
use crate::handle::RoomHandle;
use crate::link::{ToHome, ready};

/// Reason why a room was not moved to another node. It goes on where it is, unless it says otherwise.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveRoomError {
    /// There is no such room here.
    #[error("no such room")]
    NoSuchRoom,
    /// This node does not run the room: this one does.
    #[error("node {0} runs the room")]
    Elsewhere(NodeId),
    /// The room is to go to the node that runs it.
    #[error("it is at that node already")]
    Here,
    /// The room has no peers of other nodes ([`RoomOptions::across_nodes`](crate::RoomOptions::across_nodes)), or the
    /// cluster no lines.
    #[error("the room is not shared across nodes")]
    NotShared,
    /// The room is being restarted, moved, or closed, or one of its peers goes from one node to another. Try again.
    #[error("the room does not rest")]
    Busy,
    /// The room has no [snapshot](crate::Room::snapshot), and is to close its peers' connections where it begins anew
    /// ([`OnCrash::Close`](crate::OnCrash::Close)).
    #[error("the room has no snapshot")]
    NoSnapshot,
    /// The room did not stop in time: it is busy with an `on_join`, for example.
    #[error("the room did not stop in time")]
    TimedOut,
    /// The other node does not take the room, for this reason.
    #[error("node {node} does not take the room: {reason}")]
    Refused {
        /// The other node.
        node: NodeId,
        /// Its reason, or that it does not answer.
        reason: String,
    },
    /// The directory is not available.
    #[error("the directory is not available")]
    Unavailable,
    /// This node does not hold the room any more: what follows is as with every other [lapse](crate::OnLapse).
    #[error("this node does not hold the room any more")]
    Lapsed,
}

impl Rooms {
    /// Moves a room to another node of the cluster, while its peers stay where they are and talk: those of this node
    /// are guests of the room from then on. The room goes on there with its [snapshot](crate::Room::snapshot), its
    /// members, and all messages that it has not handled: none is lost, doubled, or out of order, and no client is told
    /// anything. `on_join` is not called again; peers that have left meanwhile get their `on_leave`. What does not go:
    /// [ticks](crate::RoomContext::every), and messages of the application ([`tell`](crate::RoomHandle::tell)), which
    /// are refused meanwhile. A room without a snapshot begins anew there, and readopts its members, as it does after a
    /// crash.
    ///
    /// The room stops while its state goes to the other node, for 2 s at most; if that fails, it goes on here as if
    /// nothing had been. Then one compare-and-swap of the directory decides; the room waits for as long as its outcome
    /// is not known. Once it is there, the other node waits 5 s at most until all nodes with peers in the room have
    /// followed; peers of one that comes later leave. Dropping the future does not stop what was begun.
    ///
    /// # Errors
    /// [`MoveRoomError`]
    pub async fn move_room(&self, name: &str, to: &NodeId) -> Result<(), MoveRoomError> {
        let room = self.lookup(name).ok_or(MoveRoomError::NoSuchRoom)?;
        let home = self.home().ok_or(MoveRoomError::NoSuchRoom)?;
        let (shared, to) = (Arc::clone(&self.shared), to.clone());
        let (tell, told) = oneshot::channel();
        // Goes on even if the caller waits no more.
        home.arbiter.spawn(async move {
            let moved = shared.move_room(&room, to).await;
            shared.moves.count(&moved);
            _ = tell.send(moved);
        });
        told.await.unwrap_or(Err(MoveRoomError::Busy))
    }
}

impl Shared {
    async fn move_room(&self, room: &RoomHandle, to: NodeId) -> Result<(), MoveRoomError> {
        if let Some(node) = room.home() {
            return Err(MoveRoomError::Elsewhere(node));
        }
        let tenure = room.shared.tenure().ok_or(MoveRoomError::NotShared)?;
        let opener = tenure.opener.as_ref().ok_or(MoveRoomError::NotShared)?;
        if to == *tenure.cluster.node() {
            return Err(MoveRoomError::Here);
        }
        let refused = |reason| MoveRoomError::Refused { node: to.clone(), reason };
        let epoch = tenure.epoch().filter(|_| tenure.is_good()).ok_or(MoveRoomError::Lapsed)?;
        let (name, version) = (room.name().to_owned(), room.shared.snapshot_version());
        let prepared = opener.prepare(&to, name, epoch, version).await;
        let (link, mut parts) = prepared.map_err(refused)?;

        let (answer, stopped) = oneshot::channel();
        let (fate, decided) = oneshot::channel();
        let leave = Leave { answer, fate: decided };
        let _moving = room.shared.begin_to_move(leave).ok_or(MoveRoomError::Busy)?;
        let deadline = Instant::now() + WITHIN;
        let stopped = timeout_at(deadline, stopped).await.map_err(|_| MoveRoomError::TimedOut)?;
        let state = stopped.map_err(|_| MoveRoomError::Busy)?.map_err(|cannot| match cannot {
            CannotMove::Busy => MoveRoomError::Busy,
            CannotMove::NoSnapshot => MoveRoomError::NoSnapshot,
        })?;
        let RoomState { snapshot, members, nodes } = state;
        // JSON, which can be written.
        let snapshot = snapshot.and_then(|it| serde_json::to_vec(&it).ok()).unwrap_or_default();
        link.send(&ToHome::HandOver { members, nodes }, &[&snapshot]);
        let taken = timeout_at(deadline, ready(&mut parts)).await;
        taken.unwrap_or_else(|_| Err("it does not answer in time".to_owned())).map_err(refused)?;
        if room.is_closed() {
            return Err(MoveRoomError::Busy);
        }
        let gave = tenure.give(&to).await.map_err(|error| match error {
            GiveError::NotHeld => MoveRoomError::Lapsed,
            GiveError::NoSuchNode => refused(error.to_string()),
            _ => MoveRoomError::Unavailable,
        })?;
        // The other node has it.
        link.send(&ToHome::Given(gave.given), &[]);
        if fate.send(Departure { gave, link, parts }).is_err() {
            // Its actor was killed.
            return Err(MoveRoomError::Lapsed);
        }
        let left = room.shared.wait_until(|it| it.away().is_some() || it.roster().is_closed());
        _ = timeout(WITHIN, left).await;
        Ok(())
    }
}

/// Longest time for which a room stops before it is known whether another node takes it.
const WITHIN: Duration = Duration::from_secs(2);
