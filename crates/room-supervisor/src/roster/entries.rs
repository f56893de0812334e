//! Entries of a roster: one for each peer, with the number and the list of the members kept beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::member::Member;
use crate::peer_id::PeerId;

/// Entries by peer. A state changes only here, so that the numbers are right.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_peer: BTreeMap<PeerId, Entry>,
    /// Number of entries in [`State::Member`].
    members: usize,
    /// Number of entries that clients [see](State::is_visible) as members.
    visible: usize,
    /// Members that clients see, as they were listed last; none since one of them came or went.
    listed: Option<Arc<[Member]>>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: Member,
    /// Additional fields of the peer's `authenticated` message, until it is sent.
    pub(super) welcome: Option<Box<Map<String, Value>>>,
    state: State,
}

/// Progress of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The peer has not asked to join yet.
    Reserved,
    /// `on_join` is running. After a crash, a peer in this state was the cause. `known`: the peer had joined before the
    /// room crashed, and the others know of it.
    Asking {
        known: bool,
    },
    /// `on_join` has accepted the peer, and the others are being told. `gone`: it has left meanwhile.
    Admitting {
        gone: bool,
    },
    Member,
    /// The peer had joined before the room crashed, and is to be readopted.
    Stale,
    /// The peer is gone, and the others are to be told. `admitted`: by this instance of the room, so that `on_leave` is
    /// due.
    Departed {
        admitted: bool,
    },
}

impl State {
    /// Returns whether clients see the peer as a member.
    pub(super) fn is_visible(self) -> bool {
        matches!(self, Self::Member | Self::Stale | Self::Asking { known: true })
    }
}

impl Entry {
    pub(super) fn reserved(member: Member, welcome: Map<String, Value>) -> Self {
        let welcome = (!welcome.is_empty()).then(|| Box::new(welcome));
        Self { member, welcome, state: State::Reserved }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }
}

impl Entries {
    /// Adds an entry of a peer that has none.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.count(None, Some(entry.state));
        self.by_peer.insert(entry.member.peer_id(), entry);
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        if let Some(entry) = self.by_peer.remove(&peer) {
            self.count(Some(entry.state), None);
        }
    }

    /// Sets the state of a peer, if it has an entry.
    pub(super) fn set(&mut self, peer: PeerId, state: State) {
        if let Some(entry) = self.by_peer.get_mut(&peer) {
            let before = std::mem::replace(&mut entry.state, state);
            self.count(Some(before), Some(state));
        }
    }

    /// Handles that a peer's `authenticated` message is made.
    pub(super) fn welcomed(&mut self, peer: PeerId) {
        if let Some(entry) = self.by_peer.get_mut(&peer) {
            entry.welcome = None;
        }
    }

    /// Removes all entries, and returns them.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Entry> + use<> {
        std::mem::take(self).by_peer.into_values()
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Entry> {
        self.by_peer.get(&peer)
    }

    pub(super) fn state(&self, peer: PeerId) -> Option<State> {
        self.get(peer).map(Entry::state)
    }

    /// Returns the entries by the ids of the peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_peer.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// Returns the number of peers in [`State::Member`].
    pub(super) fn members(&self) -> usize {
        self.members
    }

    /// Returns the number of peers that clients see as members.
    pub(super) fn visible(&self) -> usize {
        self.visible
    }

    /// Returns the peers that clients see as members. The list is made once for all who ask before one of them comes or
    /// goes.
    pub(super) fn list_visible(&mut self) -> Arc<[Member]> {
        let entries = self.by_peer.values().filter(|entry| entry.state.is_visible());
        let list = || entries.map(|entry| entry.member.clone()).collect();
        Arc::clone(self.listed.get_or_insert_with(list))
    }

    /// Counts a change of one entry; none is a state of no entry.
    fn count(&mut self, before: Option<State>, after: Option<State>) {
        let member = |state: Option<State>| usize::from(state == Some(State::Member));
        let visible = |state: Option<State>| usize::from(state.is_some_and(State::is_visible));
        self.members = self.members + member(after) - member(before);
        self.visible = self.visible + visible(after) - visible(before);
        if visible(before) != visible(after) {
            self.listed = None;
        }
    }
}
