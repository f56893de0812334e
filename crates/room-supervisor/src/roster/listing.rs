//! Lists of the members, for clients that may have missed who came and went.

use super::entries::{Entry, State};
use super::{Phase, Roster};
use crate::auth::PublicMetadata;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;

impl Roster {
    /// Notes that a peer's client is to be told who is a member, as soon as the room can say it. Returns false if that
    /// was noted before.
    pub(crate) fn owe_list(&mut self, peer: PeerId) -> bool {
        self.entries.get(peer).is_some() && self.lists_owed.insert(peer)
    }

    /// Returns the peers whose clients are to be told.
    pub(crate) fn lists_owed(&self) -> impl Iterator<Item = PeerId> {
        self.lists_owed.iter().copied()
    }

    /// Notes that a peer's client was told, or is told elsewhere.
    pub(crate) fn list_sent(&mut self, peer: PeerId) {
        self.lists_owed.remove(&peer);
    }

    /// Returns the list, and all members that it is owed to; none if there are none, or if the room cannot say it yet.
    /// To be delivered at once, when no [output](Self::poll_output) is left: it tells of what was announced so far.
    pub(crate) fn take_list(&mut self) -> Option<(RoomMessage, Vec<Member>)> {
        // Most rooms owe none most of the time.
        if self.lists_owed.is_empty() || self.phase != Phase::Open || self.is_gathering() {
            return None;
        }
        let mut to = Vec::new();
        for peer in std::mem::take(&mut self.lists_owed) {
            let Some(entry) = self.entries.get(peer) else { continue };
            match entry.state() {
                // One that is being adopted is told first what has changed.
                State::Member if !self.is_adopted(peer) => to.push(entry.member.clone()),
                State::Departed { .. } | State::Reserved => {}
                _ => _ = self.lists_owed.insert(peer),
            }
        }
        (!to.is_empty()).then(|| (RoomMessage::room_members(self.announced()), to))
    }

    /// Returns the peers that were announced to the members, and not that they have left.
    pub(super) fn announced(&self) -> impl Iterator<Item = (PeerId, &PublicMetadata)> {
        let announced = |entry: &&Entry| match entry.state() {
            State::Member => true,
            State::Departed { .. } => !self.is_adopted(entry.member.peer_id()),
            _ => false,
        };
        let members = self.entries.iter().filter(announced).map(|entry| &entry.member);
        members.map(|member| (member.peer_id(), member.public()))
    }
}
