//! Room with as many members as a mesh can carry.

use std::num::NonZeroU32;

use callboard_room_supervisor::{AuthData, JoinRefusal, PeerId, Room};

/// Room that counts its members, and rejects peers when it is full.
pub(crate) struct MeshRoom {
    peers: u32,
    max_peers: NonZeroU32,
}

impl Room for MeshRoom {
    type Options = NonZeroU32;

    fn on_init(max_peers: &NonZeroU32) -> Result<Self, String> {
        Ok(Self { peers: 0, max_peers: *max_peers })
    }

    async fn on_join(&mut self, _: &AuthData) -> Result<(), JoinRefusal> {
        if self.peers >= self.max_peers.get() {
            return Err("room_is_full".into());
        }
        self.peers += 1;
        Ok(())
    }

    fn on_leave(&mut self, _: PeerId) {
        self.peers -= 1;
    }
}
