//! Room of a call.

use callboard_room_supervisor::{Rejection, Room, RoomContext};

/// Room that only forwards. It has as many members as a mesh can carry
/// ([`RoomOptions::max_peers`](callboard_room_supervisor::RoomOptions::max_peers)).
pub(crate) struct MeshRoom;

impl Room for MeshRoom {
    type Options = ();
    const FORWARDS_DIRECTLY: bool = true;

    fn on_init((): &(), _: &RoomContext) -> Result<Self, Rejection> {
        Ok(Self)
    }
}
