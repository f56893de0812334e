//! Who hears what is said on the data channels of a room: everyone who has said something there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard_peer_connection::DataChannelMessage;
use callboard_room_supervisor::PeerId;
use callboard_signaling::PeerRef;
use callboard_signaling::server_peer::SendDataError;

struct Member {
    client: PeerRef,
    name: Arc<str>,
}

/// The members of all rooms. Cheap to clone, usable from any thread.
///
/// Bounded by the rooms themselves: a member is taken out when its room says that it has left, or when it cannot be
/// reached any more.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    rooms: Arc<Mutex<HashMap<String, HashMap<PeerId, Member>>>>,
}

impl Hub {
    /// From now on it hears the others.
    pub(crate) fn enter(&self, room: &str, peer: PeerId, name: Arc<str>, client: PeerRef) {
        self.lock().entry(room.to_owned()).or_default().insert(peer, Member { client, name });
    }

    /// What it is called.
    pub(crate) fn name(&self, room: &str, peer: PeerId) -> Option<Arc<str>> {
        Some(Arc::clone(&self.lock().get(room)?.get(&peer)?.name))
    }

    /// It has left its room.
    pub(crate) fn leave(&self, room: &str, peer: PeerId) {
        let mut rooms = self.lock();
        let Some(members) = rooms.get_mut(room) else { return };
        members.remove(&peer);
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    /// Say this to everyone in the room, or to everyone but one.
    pub(crate) fn tell(&self, room: &str, channel: &str, text: &str, but: Option<PeerId>) {
        // Copied out: nobody waits for the lock while data is being sent.
        let members: Vec<(PeerId, PeerRef)> = match self.lock().get(room) {
            Some(members) => {
                members.iter().map(|(peer, member)| (*peer, member.client.clone())).collect()
            }
            None => return,
        };
        for (peer, client) in members.into_iter().filter(|(peer, _)| Some(*peer) != but) {
            let sent = client.send_data(channel, DataChannelMessage::Text(text.to_owned()));
            if matches!(sent, Err(SendDataError::Gone)) {
                self.leave(room, peer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<PeerId, Member>>> {
        // Every change is one insertion or removal.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
