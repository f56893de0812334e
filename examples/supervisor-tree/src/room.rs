//! Rooms that open for their first member, and close after the last one has left.

use std::sync::Arc;
use std::time::Duration;

use callboard_room_supervisor::{AuthData, JoinRefusal, PeerId, Room, RoomOptions, Rooms};
use callboard_signaling::is_room_name;

use crate::hub::Hub;

/// Room for every client, as long as there is a place.
pub(crate) struct DemoRoom {
    name: Arc<str>,
    hub: Hub,
    peers: usize,
}

/// Creates the rooms of this server: any name opens one.
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
                    .intensity(RESTARTS, Duration::from_secs(10))
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

/// Most rooms that are open at once.
pub(crate) const MAX_ROOMS: usize = 256;
/// Most peers in one room: every message of one goes to all others.
pub(crate) const MAX_PEERS: usize = 256;
/// Restarts within 10 s that a supervisor of this example allows: many, for fault injection.
pub(crate) const RESTARTS: u32 = 100;
