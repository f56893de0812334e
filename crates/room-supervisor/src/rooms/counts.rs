//! Numbers of rooms, for metrics.

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
}
