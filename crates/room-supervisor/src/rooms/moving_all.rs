//! Move of all rooms of a node that is about to leave the cluster.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callboard_cluster::{NodeId, SessionState};
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use super::Rooms;
use super::moving::MoveRoomError;
use crate::handle::RoomHandle;

/// What has become of the rooms of a node that is about to leave the cluster ([`Rooms::move_all`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedRooms {
    /// Number of rooms that other nodes run now.
    pub moved: usize,
    /// Number of rooms that this node still runs.
    pub stayed: usize,
}

impl Rooms {
    /// Moves all rooms that this node runs to other nodes ([`move_room`](Self::move_room)), 16 at a time, those with
    /// few peers first: each to the node that has most of its peers, and of those to the one with the fewest rooms. A
    /// room that cannot be moved stays; so do rooms that are not [shared](crate::RoomOptions::across_nodes). If no
    /// other node is heard of at present, though the sessions of some run, waits for 10 s at most; for rooms that this
    /// node does not hold, because its session has just ended, until it has them again, for 15 s at most.
    pub async fn move_all(&self) -> MovedRooms {
        let mut rooms: Vec<RoomHandle> =
            self.list().into_iter().filter(|room| room.home().is_none()).collect();
        rooms.sort_by_key(RoomHandle::len);
        let held_until = Instant::now() + HELD_WITHIN;
        let load = self.load().await;
        let moves = rooms.iter().map(|room| self.move_somewhere(room, &load, held_until));
        let moved: Vec<bool> = stream::iter(moves).buffer_unordered(AT_ONCE).collect().await;
        let moved = moved.into_iter().filter(|moved| *moved).count();
        MovedRooms { moved, stayed: rooms.len() - moved }
    }

    /// Returns the other nodes that take rooms, with the numbers of rooms that they have. Waits while none of those is
    /// heard of whose sessions run: for example when this node has stood still, and the directory has not yet told it
    /// the news.
    async fn load(&self) -> Mutex<HashMap<NodeId, usize>> {
        let Some(cluster) = self.cluster() else { return Mutex::default() };
        let until = Instant::now() + HEARD_WITHIN;
        loop {
            let takers = cluster.loads().await.unwrap_or_default().into_iter();
            let others = takers.filter(|taker| taker.node != *cluster.node());
            let load: HashMap<_, _> = others.map(|taker| (taker.node, taker.rooms)).collect();
            let is_last = !cluster.nodes().iter().any(|node| node.state == SessionState::Up);
            if !load.is_empty() || is_last || Instant::now() >= until {
                return Mutex::new(load);
            }
            sleep(PAUSE).await;
        }
    }

    /// Moves a room to the best node that takes it; returns whether one has.
    async fn move_somewhere(
        &self,
        room: &RoomHandle,
        load: &Mutex<HashMap<NodeId, usize>>,
        held_until: Instant,
    ) -> bool {
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            if !is_held(room, held_until).await {
                log::info!("room {:?} goes to no node: this one does not hold it", room.name());
                return false;
            }
            let Some(to) = best(room, load, &refused) else { return false };
            let error = match self.move_room(room.name(), &to).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            if let Some(rooms) = lock(load).get_mut(&to) {
                *rooms = rooms.saturating_sub(1);
            }
            log::info!("room {:?} does not go to node {to}: {error}", room.name());
            match error {
                MoveRoomError::Refused { .. } => refused.push(to),
                MoveRoomError::Busy
                | MoveRoomError::TimedOut
                | MoveRoomError::Unavailable
                | MoveRoomError::Lapsed => sleep(PAUSE).await,
                _ => return false,
            }
        }
        false
    }
}

/// Waits until this node holds a room that runs here; returns false if it is closed, or goes on elsewhere, or is not
/// held in time.
async fn is_held(room: &RoomHandle, until: Instant) -> bool {
    while room.shared.tenure().is_some_and(|tenure| !tenure.is_good()) {
        if room.is_closed() || room.home().is_some() || Instant::now() >= until {
            return false;
        }
        sleep(PAUSE).await;
    }
    true
}

/// Returns the node to which a room goes, and counts the room there.
fn best(
    room: &RoomHandle,
    load: &Mutex<HashMap<NodeId, usize>>,
    refused: &[NodeId],
) -> Option<NodeId> {
    let peers = room.shared.tenure().map(|tenure| tenure.peers_by_node()).unwrap_or_default();
    let mut load = lock(load);
    let nodes = load.iter_mut().filter(|(node, _)| !refused.contains(node));
    let (node, rooms) = nodes.min_by_key(|(node, rooms)| {
        let here = peers.get(*node).copied().unwrap_or_default();
        (Reverse(here), **rooms, (*node).clone())
    })?;
    *rooms += 1;
    Some(node.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of rooms that are moved at once.
const AT_ONCE: usize = 16;
/// Number of tries to move a room.
const TRIES: usize = 3;
/// Pause before a room is tried again that did not rest.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time until rooms are held again: a session is entered anew, and each room claimed. Less than a third of the
/// time of a drain.
const HELD_WITHIN: Duration = Duration::from_secs(15);
/// Longest time until another node is heard of: more than that in which NATS elects a leader.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
