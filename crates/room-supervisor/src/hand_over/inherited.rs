//! What the rooms have from an earlier process: rooms that are not open yet, peers whose keepers have not asked yet.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callboard_outbox::{CloseFrame, Outbox};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::record::{Document, RoomRecord};
use crate::auth::AuthData;
use crate::handle::RoomHandle;
use crate::member::Member;
use crate::membership::Membership;
use crate::peer_id::PeerId;
use crate::snapshot::Snapshot;

#[derive(Default)]
pub(super) struct Inherited {
    rooms: HashMap<String, InheritedRoom>,
    /// Peers by the numbers of their keepers.
    peers: HashMap<usize, Vec<RestoredPeer>>,
    /// Time at which what is left here is given up.
    ends: Option<Instant>,
}

/// State of a room that is not open yet.
pub(crate) struct InheritedRoom {
    pub(crate) snapshot: Option<Snapshot>,
    /// Members, each with the way to tell its keeper of the room.
    pub(crate) members: Vec<(Member, oneshot::Sender<RoomHandle>)>,
    /// Members whose clients do not come back.
    pub(crate) departed: Vec<Member>,
}

/// A peer of an earlier process or of another node, for its [keeper](crate::PeerKeeper): a member of its room, with all
/// that waits for its client. It leaves when this is dropped.
pub struct RestoredPeer {
    member: Member,
    data: Value,
    until: Instant,
    room: oneshot::Receiver<RoomHandle>,
}

impl Inherited {
    pub(super) fn new(document: Document, now: SystemTime) -> Self {
        let (now, age) = (Instant::now(), document.age(now));
        let ends = Some(now + document.lasts().saturating_sub(age));
        let mut inherited = Self { ends, ..Self::default() };
        for RoomRecord { name, snapshot, members } in document.rooms {
            let mut room = InheritedRoom { snapshot, members: Vec::new(), departed: Vec::new() };
            for (member, kept) in members.into_iter().map(|record| record.into_member()) {
                let grace = kept.as_ref().map(|(kept, _)| Duration::from_millis(kept.grace_ms));
                let left = grace.and_then(|grace| grace.checked_sub(age));
                let (Some((kept, data)), Some(left)) = (kept, left) else {
                    member.outbox().close(CloseFrame::GOING_AWAY);
                    room.departed.push(member);
                    continue;
                };
                let (tell, told) = oneshot::channel();
                let until = now + left;
                let peer = RestoredPeer { member: member.clone(), data, until, room: told };
                inherited.peers.entry(kept.keeper).or_default().push(peer);
                room.members.push((member, tell));
            }
            inherited.rooms.insert(name, room);
        }
        inherited
    }

    /// Returns the names of the rooms, and when what is left of them is given up.
    pub(super) fn begin(&self) -> (Vec<String>, Option<Instant>) {
        (self.rooms.keys().cloned().collect(), self.ends)
    }

    /// Returns the names of the rooms that were not opened.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &String> {
        self.rooms.keys()
    }

    pub(super) fn take_room(&mut self, name: &str) -> Option<InheritedRoom> {
        self.rooms.remove(name)
    }

    pub(super) fn take_peers(&mut self, keeper: usize) -> Vec<RestoredPeer> {
        self.peers.remove(&keeper).unwrap_or_default()
    }
}

impl RestoredPeer {
    /// Creates a peer that has come from another node, and is a member of this room.
    pub(crate) fn new(membership: Membership, data: Value, until: Instant) -> Self {
        membership.retire();
        let (member, (tell, room)) = (membership.member().clone(), oneshot::channel());
        _ = tell.send(membership.room().clone());
        Self { member, data, until, room }
    }

    /// Returns the id of the peer.
    pub fn peer_id(&self) -> PeerId {
        self.member.peer_id()
    }

    /// Returns the authentication data of the peer.
    pub fn auth(&self) -> &AuthData {
        self.member.auth()
    }

    /// Returns the outbox, in which all waits that the client has not been sent.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.member.outbox()
    }

    /// Returns what the keeper has [kept](crate::KeptPeer::data).
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// Returns until when the client may come back.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Sets the handle by which the application reaches the peer ([`Member::handle`]).
    pub fn set_handle<T: Any + Send + Sync>(&self, handle: Arc<T>) {
        self.member.set_handle(handle);
    }

    /// Returns the membership, once the room is open; none if it is not opened before the client may come back no more.
    pub async fn membership(mut self) -> Option<Membership> {
        let until = self.until;
        let room = tokio::time::timeout_at(until, &mut self.room).await.ok()?.ok()?;
        Some(Membership::new(room, self.member.clone()))
    }
}

impl Drop for RestoredPeer {
    fn drop(&mut self) {
        if let Ok(room) = self.room.try_recv() {
            drop(Membership::new(room, self.member.clone()));
        }
    }
}

impl fmt::Debug for RestoredPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoredPeer").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}
