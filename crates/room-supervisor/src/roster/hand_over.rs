//! Roster of a room that is moved to another process: what leaves with it, and how it begins there.

use super::{Phase, Roster, State};
use crate::member::Member;
use crate::peer_id::PeerId;
use serde_json::Map;

use super::entries::Entry;

impl Roster {
    /// Sets whether the room works no message.
    pub(crate) fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Ends a room that goes on in another process: no peer can join it here any more, and `on_terminate` is not due.
    pub(crate) fn hand_over(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Removes a peer that goes on at another node: its departure is not announced.
    pub(crate) fn forget(&mut self, member: &Member) {
        if self.has(member) {
            self.entries.remove(member.peer_id());
        }
    }

    /// Returns the peers that clients see, and those whose departure they have not been told.
    pub(crate) fn to_hand_over(&self) -> (Vec<Member>, Vec<Member>) {
        let departed = |state| matches!(state, State::Departed { .. });
        let departed = self.select(departed).cloned().collect();
        (self.visible().cloned().collect(), departed)
    }

    /// Adds peers of a room that has not started, which were members of it in an earlier process.
    pub(crate) fn begin_with(&mut self, members: Vec<Member>, departed: Vec<Member>) {
        if self.phase == Phase::Opening && !(members.is_empty() && departed.is_empty()) {
            self.phase = Phase::Restarting;
        }
        for member in departed {
            let peer = member.peer_id();
            self.entries.insert(Entry::reserved(member, Map::new()));
            self.depart(peer, true);
        }
        for member in members {
            let peer = member.peer_id();
            self.entries.insert(Entry::reserved(member, Map::new()));
            self.entries.set(peer, State::Stale);
        }
    }

    /// Begins a room that was restored: its members are as they were, and it has admitted also those that have left
    /// meanwhile.
    pub(crate) fn restored(&mut self) {
        if self.phase == Phase::Restarting {
            self.phase = Phase::Open;
        }
        let states: Vec<(PeerId, State)> =
            self.entries.iter().map(|entry| (entry.member.peer_id(), entry.state())).collect();
        for (peer, state) in states {
            match state {
                State::Stale => self.entries.set(peer, State::Member),
                State::Departed { .. } => {
                    self.entries.set(peer, State::Departed { admitted: true });
                }
                _ => {}
            }
        }
        self.announce_departures();
    }
}
