//! Media rooms of a route: one below each room, started with the room's first peer connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use callboard_media_rooms::{MediaRoom, Participant, ParticipantEvent};
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections};
use callboard_room_supervisor::{PeerId, RoomHandle};
use tokio::sync::Mutex;

use super::HandleOfferError;

/// Media rooms of a route.
#[derive(Debug)]
pub(crate) struct MediaRooms {
    connections: PeerConnections,
    /// By the paths of their rooms in the tree.
    rooms: Mutex<HashMap<String, MediaRoom>>,
    next_thread: AtomicUsize,
}

impl MediaRooms {
    pub(crate) fn new(connections: PeerConnections) -> Self {
        Self { connections, rooms: Mutex::default(), next_thread: AtomicUsize::new(0) }
    }

    /// Returns the media room of a room; starts it if it does not run. Each is on the next media thread in turn.
    async fn of(&self, room: &RoomHandle) -> Result<MediaRoom, HandleOfferError> {
        let supervisor = room.supervisor().ok_or(HandleOfferError::Unavailable)?;
        let path = supervisor.path().to_string();
        let mut rooms = self.rooms.lock().await;
        if let Some(media) = rooms.get(&path).filter(|media| media.is_running()) {
            return Ok(media.clone());
        }
        // Those that have ended with their rooms, and this one, if its room has been restarted.
        rooms.retain(|_, media| media.is_running());
        let turn = self.next_thread.fetch_add(1, Ordering::Relaxed);
        let thread = turn % self.connections.media_threads();
        let (spec, media) = MediaRoom::child("media", self.connections.clone(), thread);
        let started = supervisor.start_child(spec).await;
        started.map_err(|_| HandleOfferError::Unavailable)?;
        rooms.insert(path, media.clone());
        Ok(media)
    }
}

/// Place of one client in the media of its room.
#[derive(Clone, Debug)]
pub(crate) struct MediaSeat {
    pub(crate) rooms: Arc<MediaRooms>,
    pub(crate) room: RoomHandle,
    pub(crate) peer: PeerId,
}

impl MediaSeat {
    /// Returns the media thread on which the client's connection must run.
    pub(crate) async fn thread(&self) -> Result<usize, HandleOfferError> {
        Ok(self.rooms.of(&self.room).await?.thread())
    }

    /// Lets a connection take part in the room's media.
    pub(crate) async fn join(
        &self,
        connection: &PeerConnectionHandle,
        events: Recipient<ParticipantEvent>,
    ) -> Result<Arc<Participant>, HandleOfferError> {
        let room = self.rooms.of(&self.room).await?;
        let joined = room.join(connection.clone(), self.peer.to_string(), events).await;
        joined.map(Arc::new).map_err(|error| {
            log::debug!("peer {} does not join the media of its room: {error}", self.peer);
            HandleOfferError::Unavailable
        })
    }
}
