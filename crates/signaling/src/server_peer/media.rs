//! Media rooms of a route: one below each room, started with the room's first peer connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use callboard_media_rooms::{MediaRoom, Participant, ParticipantEvent};
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections};
use callboard_room_supervisor::{PeerId, RoomHandle};
use callboard_supervision::SupervisorRef;
use tokio::sync::Mutex as AsyncMutex;

use super::HandleOfferError;

/// Media rooms of a route.
#[derive(Debug)]
pub(crate) struct MediaRooms {
    connections: PeerConnections,
    /// By the paths of their rooms in the tree.
    rooms: Mutex<HashMap<String, Opened>>,
    next_thread: AtomicUsize,
}

/// Media room of one room.
#[derive(Clone, Debug)]
struct Opened {
    /// Supervisor of the room.
    room: SupervisorRef,
    /// Locked while the media room starts; one that waits for its thread holds up no other room.
    media: Arc<AsyncMutex<Option<MediaRoom>>>,
}

impl MediaRooms {
    pub(crate) fn new(connections: PeerConnections) -> Self {
        Self { connections, rooms: Mutex::default(), next_thread: AtomicUsize::new(0) }
    }

    /// Returns the media room of a room; starts it if there is none below the room. Each is on the next media thread in
    /// turn.
    async fn of(&self, room: &RoomHandle) -> Result<MediaRoom, HandleOfferError> {
        let supervisor = room.supervisor().ok_or(HandleOfferError::Unavailable)?;
        let mut media = self.opened(&supervisor).media.lock_owned().await;
        if let Some(media) = &*media
            && supervisor.supervisor(MEDIA).is_ok()
        {
            // Also while it is being restarted.
            return Ok(media.clone());
        }
        let turn = self.next_thread.fetch_add(1, Ordering::Relaxed);
        let thread = turn % self.connections.media_threads();
        let (spec, new) = MediaRoom::child(MEDIA, self.connections.clone(), thread);
        // Before it has started: no one may wait for that, and it starts nevertheless.
        *media = Some(new.clone());
        if supervisor.start_child(spec).await.is_err() {
            *media = None;
            return Err(HandleOfferError::Unavailable);
        }
        Ok(new)
    }

    fn opened(&self, room: &SupervisorRef) -> Opened {
        let path = room.path().to_string();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = rooms.get(&path) {
            return opened.clone();
        }
        // Those that have ended with their rooms.
        rooms.retain(|_, opened| opened.room.is_running());
        let opened = Opened { room: room.clone(), media: Arc::default() };
        rooms.insert(path, opened.clone());
        opened
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
        Ok(self.rooms.of(&self.room).await?.next_thread())
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

/// Name of a media room below its room.
const MEDIA: &str = "media";
