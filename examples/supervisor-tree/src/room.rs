//! Rooms: opened when somebody comes, closed when the last one has gone.

use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{AuthData, JoinRefusal, PeerId, Room, RoomOptions, Rooms};
use callboard_signaling::is_room_name;

use crate::hub::Hub;

/// A room for everyone, as long as there is a place.
pub(crate) struct DemoRoom {
    name: Arc<str>,
    hub: Hub,
    peers: usize,
}

/// All rooms of this server: whoever asks for one by a name gets it.
pub(crate) fn rooms(hub: &Hub) -> Rooms {
    let hub = hub.clone();
    Rooms::builder()
        .max_on_demand(MAX_ROOMS)
        .on_demand(move |name| {
            let is_name = is_room_name(name);
            let name: Arc<str> = name.into();
            is_name.then(|| {
                RoomOptions::<DemoRoom>::new(Arc::clone(&name), (name, hub.clone()))
                    .close_when_empty(true)
                    .intensity(SHOTS, Duration::from_secs(10))
                    .into()
            })
        })
        .build()
}

impl Room for DemoRoom {
    type Options = (Arc<str>, Hub);

    fn on_init((name, hub): &Self::Options) -> Result<Self, String> {
        Ok(Self { name: Arc::clone(name), hub: hub.clone(), peers: 0 })
    }

    async fn on_join(&mut self, _: &AuthData) -> Result<(), JoinRefusal> {
        if self.peers >= MAX_PEERS {
            return Err("room_is_full".into());
        }
        self.peers += 1;
        Ok(())
    }

    fn on_leave(&mut self, peer: PeerId) {
        self.peers = self.peers.saturating_sub(1);
        self.hub.leave(&self.name, peer);
    }
}

/// How many rooms may be open at once.
pub(crate) const MAX_ROOMS: usize = 256;
/// How many peers may be in one room: what one says goes to all others.
pub(crate) const MAX_PEERS: usize = 256;
/// How many restarts within 10 s a supervisor of this example bears: it is there to be shot at.
pub(crate) const SHOTS: u32 = 100;
