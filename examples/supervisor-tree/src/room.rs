//! Rooms that open for their first member, and close after the last one has left.

use std::path::PathBuf;
use std::time::Duration;

use callboard_room_supervisor::{Rejection, Room, RoomContext, RoomOptions, Rooms, Snapshot};
use callboard_signaling::is_room_name;

/// Room for every client, as long as there is a place.
pub(crate) struct DemoRoom;

/// Creates the rooms of this server: any name opens one. With a file, they are those of the process before.
pub(crate) fn rooms(hand_over: Option<PathBuf>) -> Rooms {
    let open = |name: &str| {
        let options = RoomOptions::<DemoRoom>::new(name, ())
            .max_peers(MAX_PEERS)
            .close_when_empty(true)
            .intensity(RESTARTS, Duration::from_secs(10));
        is_room_name(name).then(|| options.into())
    };
    let rooms = Rooms::builder().max_on_demand(MAX_ROOMS).on_demand(open);
    let rooms = hand_over.into_iter().fold(rooms, |rooms, file| rooms.hand_over_file(file));
    rooms.build()
}

impl Room for DemoRoom {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }

    /// Keeps nothing but that the members are its members.
    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&()).ok()
    }

    fn restore((): &(), _: &Snapshot, _: &RoomContext) -> Result<Self, String> {
        Ok(Self)
    }
}

/// Most rooms that are open at once.
pub(crate) const MAX_ROOMS: usize = 256;
/// Most peers in one room: every message of one goes to all others.
pub(crate) const MAX_PEERS: usize = 256;
/// Restarts within 10 s that a supervisor of this example allows: many, for fault injection.
pub(crate) const RESTARTS: u32 = 100;
