//! What all clients know at present, from the same events that the history has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use integration_tests::history::{Event, Recorder};

/// Writes the history of a client, and what it knows.
#[derive(Clone)]
pub(super) struct Writer {
    recorder: Recorder,
    name: String,
    views: Views,
}

/// What all clients know, by their names.
#[derive(Clone, Default)]
pub(super) struct Views(Arc<Mutex<BTreeMap<String, View>>>);

#[derive(Default)]
struct View {
    room: String,
    socket: u64,
    /// None while it is not connected.
    peer: Option<String>,
    others: BTreeSet<String>,
    /// Node of its last WebSocket, and that of the one by which it is connected.
    asks: String,
    node: String,
}

impl Writer {
    pub(super) fn new(recorder: &Recorder, name: &str, views: &Views) -> Self {
        views.lock().entry(name.to_owned()).or_default();
        Self { recorder: recorder.named(name), name: name.to_owned(), views: views.clone() }
    }

    pub(super) fn write(&self, event: Event) {
        // Under the lock: the view is that of the history.
        let mut views = self.views.lock();
        views.entry(self.name.clone()).or_default().see(&event);
        self.recorder.record(event);
    }
}

impl View {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Asks { node, .. } => self.asks.clone_from(node),
            Event::In { socket, room, peer, peers } => {
                self.node.clone_from(&self.asks);
                (self.socket, self.room, self.peer) = (*socket, room.clone(), Some(peer.clone()));
                self.others = peers.iter().cloned().collect();
            }
            Event::Resumed { socket, peer, .. } => {
                self.node.clone_from(&self.asks);
                (self.socket, self.peer) = (*socket, Some(peer.clone()));
            }
            Event::Lost { socket, .. } if *socket == self.socket => self.peer = None,
            Event::Out => self.peer = None,
            Event::Joined { peer } => _ = self.others.insert(peer.clone()),
            Event::Left { peer } => _ = self.others.remove(peer),
            _ => {}
        }
    }
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, View>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether all clients of a room are connected by this node.
    pub(super) fn are_at(&self, room: &str, node: &str) -> bool {
        let views = self.lock();
        let mut own = views.values().filter(|view| view.room == room);
        own.all(|view| view.peer.is_some() && view.node == node)
    }

    /// Returns whether all clients are in their rooms, and all of a room know each other.
    pub(super) fn agree(&self) -> bool {
        let views = self.lock();
        let mut rooms: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
        for view in views.values() {
            let Some(peer) = &view.peer else { return false };
            rooms.entry(&view.room).or_default().insert(peer);
        }
        views.values().all(|view| {
            let knows: BTreeSet<&String> = view.others.iter().chain(&view.peer).collect();
            rooms.get(view.room.as_str()) == Some(&knows)
        })
    }
}
