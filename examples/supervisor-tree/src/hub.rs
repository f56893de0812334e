//! Recipients of data-channel messages in each room: every member that has sent something there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard_peer_connection::DataChannelMessage;
use callboard_room_supervisor::PeerId;
use callboard_signaling::PeerRef;
use callboard_signaling::server_peer::SendToChannelError;

struct Member {
    client: PeerRef,
    name: Arc<str>,
}

/// The members of all rooms. Cheap to clone, usable from any thread.
///
/// Bounded by the rooms themselves: a member is removed when its room reports that it has left, or when it cannot be
/// reached any more.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    rooms: Arc<Mutex<HashMap<String, HashMap<PeerId, Member>>>>,
}

impl Hub {
    /// Adds a member: from now on it gets the messages of the others.
    pub(crate) fn enter(&self, room: &str, peer: PeerId, name: Arc<str>, client: PeerRef) {
        self.lock().entry(room.to_owned()).or_default().insert(peer, Member { client, name });
    }

    /// Returns a member's name.
    pub(crate) fn name(&self, room: &str, peer: PeerId) -> Option<Arc<str>> {
        Some(Arc::clone(&self.lock().get(room)?.get(&peer)?.name))
    }

    /// Removes a member that has left its room.
    pub(crate) fn leave(&self, room: &str, peer: PeerId) {
        let mut rooms = self.lock();
        let Some(members) = rooms.get_mut(room) else { return };
        members.remove(&peer);
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    /// Sends a text to all members of a room, or to all but one.
    pub(crate) fn tell(&self, room: &str, channel: &str, text: &str, but: Option<PeerId>) {
        // Copied out, so that the lock is not held while data is sent.
        let members: Vec<(PeerId, PeerRef)> = match self.lock().get(room) {
            Some(members) => {
                members.iter().map(|(peer, member)| (*peer, member.client.clone())).collect()
            }
            None => return,
        };
        for (peer, client) in members.into_iter().filter(|(peer, _)| Some(*peer) != but) {
            let sent = client.send_data(channel, DataChannelMessage::Text(text.to_owned()));
            if matches!(sent, Err(SendToChannelError::Gone)) {
                self.leave(room, peer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<PeerId, Member>>> {
        // Every change is one insertion or removal.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
