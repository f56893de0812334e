//! Media rooms of a route: one below each room, started with the room's first peer connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use callboard_media_rooms::{
    MediaPolicy, MediaRoom, Participant, ParticipantEvent, ParticipantId, ParticipantOptions,
};
use callboard_peer_connection::{PeerConnectionHandle, PeerConnections};
use callboard_room_supervisor::{PeerId, RoomHandle};
use callboard_supervision::SupervisorRef;
use tokio::sync::Mutex as AsyncMutex;

use super::HandleOfferError;

/// Media rooms of a route.
pub(crate) struct MediaRooms {
    connections: PeerConnections,
    policy: Option<Arc<dyn MediaPolicy>>,
    /// By the paths of their rooms in the tree.
    rooms: Mutex<HashMap<String, Opened>>,
    next_thread: AtomicUsize,
}

impl fmt::Debug for MediaRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaRooms").field("rooms", &self.rooms().len()).finish_non_exhaustive()
    }
}

/// Media room of one room.
#[derive(Clone, Debug)]
struct Opened {
    /// Supervisor of the room.
    room: SupervisorRef,
    /// Locked while the media room starts; one that waits for its thread holds up no other room.
    starting: Arc<AsyncMutex<()>>,
    media: Arc<Mutex<Option<MediaRoom>>>,
}

impl MediaRooms {
    pub(crate) fn new(connections: PeerConnections, policy: Option<Arc<dyn MediaPolicy>>) -> Self {
        Self { connections, policy, rooms: Mutex::default(), next_thread: AtomicUsize::new(0) }
    }

    /// Returns the media room of a room, if it has one.
    pub(crate) fn get(&self, room: &RoomHandle) -> Option<MediaRoom> {
        let path = room.supervisor()?.path().to_string();
        let opened = self.rooms().get(&path)?.clone();
        opened.current().filter(MediaRoom::is_running)
    }

    /// Returns the media room of a room; starts it if there is none below the room. Each is on the next media thread in
    /// turn.
    async fn of(&self, room: &RoomHandle) -> Result<MediaRoom, HandleOfferError> {
        let supervisor = room.supervisor().ok_or(HandleOfferError::Unavailable)?;
        let opened = self.opened(&supervisor);
        let _starting = opened.starting.lock().await;
        if let Some(media) = opened.current()
            && supervisor.supervisor(MEDIA).is_ok()
        {
            // Also while it is being restarted.
            return Ok(media);
        }
        let turn = self.next_thread.fetch_add(1, Ordering::Relaxed);
        let thread = turn % self.connections.media_threads();
        let (spec, new) = MediaRoom::child(MEDIA, self.connections.clone(), thread);
        if let Some(policy) = &self.policy {
            new.set_policy(Arc::clone(policy));
        }
        // Before it has started: no one may wait for that, and it starts nevertheless.
        opened.set(Some(new.clone()));
        if supervisor.start_child(spec).await.is_err() {
            opened.set(None);
            return Err(HandleOfferError::Unavailable);
        }
        Ok(new)
    }

    fn opened(&self, room: &SupervisorRef) -> Opened {
        let path = room.path().to_string();
        let mut rooms = self.rooms();
        if let Some(opened) = rooms.get(&path) {
            return opened.clone();
        }
        // Those that have ended with their rooms.
        rooms.retain(|_, opened| opened.room.is_running());
        let (starting, media) = Default::default();
        let opened = Opened { room: room.clone(), starting, media };
        rooms.insert(path, opened.clone());
        opened
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Opened>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn current(&self) -> Option<MediaRoom> {
        self.media.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, media: Option<MediaRoom>) {
        *self.media.lock().unwrap_or_else(PoisonError::into_inner) = media;
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

    /// Lets a connection take part in the room's media, in the place of an earlier one of the client.
    pub(crate) async fn join(
        &self,
        connection: &PeerConnectionHandle,
        events: Recipient<ParticipantEvent>,
        replaces: Option<ParticipantId>,
    ) -> Result<Arc<Participant>, HandleOfferError> {
        let room = self.rooms.of(&self.room).await?;
        let member = self.room.member(self.peer);
        let known = member.map(|member| member.public().to_map()).unwrap_or_default();
        let client = self.peer.to_string();
        let participant = ParticipantOptions::new(client.as_str()).client(client.as_str());
        let participant = participant.metadata(known);
        let participant = match replaces {
            Some(earlier) => participant.replaces(earlier),
            None => participant,
        };
        let joined = room.join(connection.clone(), participant, events).await;
        joined.map(Arc::new).map_err(|error| {
            log::debug!("peer {} does not join the media of its room: {error}", self.peer);
            HandleOfferError::Unavailable
        })
    }
}

/// Name of a media room below its room.
const MEDIA: &str = "media";
