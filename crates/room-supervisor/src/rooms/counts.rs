//! Numbers of rooms and of their moves, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Rooms;

/// Numbers of the rooms that a node of a cluster has, by where they run ([`Rooms::count_by_place`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomCounts {
    /// Rooms that run on this node.
    pub home: usize,
    /// Rooms that another node runs, and that have peers here.
    pub away: usize,
    /// Rooms on this node whose hold is over: they go on for the peers that they have, and take no join
    /// ([`OnLapse::ShutDoor`](crate::OnLapse::ShutDoor)); or they are just being closed.
    pub shut: usize,
}

/// Numbers of moves of rooms to other nodes of a cluster, since the [`Rooms`] were built ([`Rooms::count_moves`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveCounts {
    /// Rooms that have gone from this node to another by [`Rooms::move_room`].
    pub moved: u64,
    /// Calls of [`Rooms::move_room`] for a room that is known here, after which it had not moved: for any reason of
    /// [`MoveRoomError`](crate::MoveRoomError).
    pub refused: u64,
}

/// Counts moves.
#[derive(Default)]
pub(crate) struct MoveCounters {
    moved: AtomicU64,
    refused: AtomicU64,
}

impl MoveCounters {
    pub(super) fn count<T, E>(&self, moved: &Result<T, E>) {
        let counter = if moved.is_ok() { &self.moved } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rooms {
    /// Returns how many rooms this node of a cluster has, by where they run; none without a
    /// [cluster](crate::RoomsBuilder::cluster). Costs a look at each room.
    pub fn count_by_place(&self) -> Option<RoomCounts> {
        self.cluster()?;
        let mut counts = RoomCounts::default();
        for room in self.list() {
            let count = match (room.shared.is_away(), room.shared.door()) {
                (true, _) => &mut counts.away,
                (false, Ok(())) => &mut counts.home,
                (false, Err(_)) => &mut counts.shut,
            };
            *count += 1;
        }
        Some(counts)
    }

    /// Returns how many rooms of this node of a cluster were moved to others; none without a
    /// [cluster](crate::RoomsBuilder::cluster).
    pub fn count_moves(&self) -> Option<MoveCounts> {
        self.cluster()?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let MoveCounters { moved, refused } = &self.shared.moves;
        Some(MoveCounts { moved: read(moved), refused: read(refused) })
    }
}
