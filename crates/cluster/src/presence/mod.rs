//! Presence: who is there, on all nodes.

mod core;
mod format;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use self::core::{Core, Output};
pub(crate) use self::format::FORMAT;
use self::format::{Datagram, Entry};
use crate::boot_time::BootTime;
use crate::clock::Clock;
use crate::node_id::NodeId;
use crate::wire::Wire;

/// Presences of a node, under one lock: what changes is sent and told in the order in which it happens.
pub(crate) struct Shared {
    here: NodeId,
    clock: Clock,
    wire: Option<Arc<dyn Wire>>,
    state: Mutex<State>,
    malformed: AtomicU64,
}

struct State {
    core: Core,
    /// Those who listen, by presence.
    listeners: BTreeMap<String, broadcast::Sender<PresenceChange>>,
}

/// List of who is there on all nodes, under keys: the connections of each user, for example. Cheap to clone, usable
/// from any thread.
///
/// Each process alone writes its entries, and the others follow: after a loss or a split, what a node knows is right a
/// second or some after the wire works again. The entries of a process go when the directory says that its session has
/// ended or that another process has its node's name; those of a node that is cut off stay until then.
#[derive(Clone)]
pub struct Presence {
    shared: Arc<Shared>,
    name: Bytes,
}

/// Entry of a [`Presence`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Present {
    /// Node that has it.
    pub node: NodeId,
    /// Key, such as the name of a user. Many entries may have the same.
    pub key: String,
    /// What the application says of it.
    pub meta: Bytes,
}

/// Change of a [`Presence`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceChange {
    /// An entry has come.
    Joined(Present),
    /// An entry has gone.
    Left(Present),
}

/// Error of tracking an entry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceError {
    /// A presence's name has 1 to 64 bytes, a key 1 to 256, a meta at most 4 KiB.
    #[error("a name has 1 to 64 bytes, a key 1 to 256, a meta at most 4 KiB")]
    BadLength,
    /// This process has 65,536 entries already.
    #[error("this process has too many entries")]
    TooMany,
}

/// Entry of this process, until it is dropped.
#[must_use = "dropping it ends the entry"]
pub struct Tracked {
    shared: Arc<Shared>,
    id: u64,
}

/// Changes of a presence. It holds the last 1,024: who is slower misses the older ones, and is told so.
#[derive(Debug)]
pub struct PresenceChanges {
    changes: broadcast::Receiver<PresenceChange>,
}

/// Error: so many changes have come that they were not read in time. [`Presence::watch`] begins anew.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} changes were missed")]
pub struct MissedChanges(pub u64);

impl Shared {
    pub(crate) fn new(
        here: NodeId,
        process: Uuid,
        clock: Clock,
        wire: Option<Arc<dyn Wire>>,
    ) -> Self {
        let core = Core::new(here.clone(), process);
        let state = Mutex::new(State { core, listeners: BTreeMap::new() });
        Self { here, clock, wire, state, malformed: AtomicU64::new(0) }
    }

    pub(crate) fn presence(self: &Arc<Self>, name: &str) -> Result<Presence, PresenceError> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(PresenceError::BadLength);
        }
        let name = Bytes::copy_from_slice(name.as_bytes());
        Ok(Presence { shared: Arc::clone(self), name })
    }

    /// Notes that a node's session is of this process now, and whether it runs.
    pub(crate) fn handle_session(&self, node: &NodeId, process: Uuid, runs: bool) {
        self.with(|core, now| core.handle_session(now, node, process, runs));
    }

    /// Notes that the directory has forgotten all sessions.
    pub(crate) fn handle_forgotten(&self) {
        self.with(Core::handle_forgotten);
    }

    /// Handles what has arrived from another node.
    pub(crate) fn arrived(&self, node: &NodeId, datagram: Bytes) {
        match Datagram::decode(datagram) {
            Some(datagram) => self.with(|core, now| core.handle_datagram(now, node, datagram)),
            None => _ = self.malformed.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Does what is due. Returns when the next is.
    pub(crate) fn tend(&self) -> Option<BootTime> {
        self.with(|core, now| {
            core.handle_timeout(now);
            core.poll_timeout()
        })
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Feeds the core, and carries out what it asks for.
    fn with<R>(&self, input: impl FnOnce(&mut Core, BootTime) -> R) -> R {
        let mut state = self.state();
        let result = input(&mut state.core, self.clock.boot());
        while let Some(output) = state.core.poll_output() {
            match (output, &self.wire) {
                (Output::Send(to, datagram), Some(wire)) => wire.send(&self.here, &to, datagram),
                (Output::Broadcast(datagram), Some(wire)) => wire.broadcast(&self.here, datagram),
                (Output::Send(..) | Output::Broadcast(_), None) => {}
                (Output::Joined(node, entry), _) => {
                    state.tell(
                        &entry.presence.clone(),
                        PresenceChange::Joined(present(&node, &entry)),
                    );
                }
                (Output::Left(node, entry), _) => {
                    state.tell(
                        &entry.presence.clone(),
                        PresenceChange::Left(present(&node, &entry)),
                    );
                }
            }
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, name: &[u8], change: PresenceChange) {
        let name = text(name);
        // Once no one listens any more, it is forgotten.
        if self.listeners.get(&name).is_some_and(|listeners| listeners.send(change).is_err()) {
            self.listeners.remove(&name);
        }
    }
}

impl Presence {
    /// Adds an entry of this process, until the guard is dropped. The meta is what the application wants to say of it,
    /// such as JSON.
    ///
    /// # Errors
    /// [`PresenceError`]
    pub fn track(&self, key: &str, meta: impl Into<Bytes>) -> Result<Tracked, PresenceError> {
        let meta = meta.into();
        if !(1..=MAX_KEY).contains(&key.len()) || meta.len() > MAX_META {
            return Err(PresenceError::BadLength);
        }
        let key = Bytes::copy_from_slice(key.as_bytes());
        let entry = Entry { presence: self.name.clone(), key, meta };
        let id = self.shared.with(|core, now| core.track(now, entry));
        let shared = Arc::clone(&self.shared);
        Ok(Tracked { shared, id: id.ok_or(PresenceError::TooMany)? })
    }

    /// Returns the entries under a key. Looks at all entries.
    pub fn list(&self, key: &str) -> Vec<Present> {
        self.entries(&self.shared.state(), |entry| entry.key == key.as_bytes())
    }

    /// Returns all entries.
    pub fn all(&self) -> Vec<Present> {
        self.entries(&self.shared.state(), |_| true)
    }

    /// Returns all entries, and the changes from then on.
    pub fn watch(&self) -> (Vec<Present>, PresenceChanges) {
        let mut state = self.shared.state();
        let there = state.listeners.entry(text(&self.name));
        let changes = there.or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe();
        (self.entries(&state, |_| true), PresenceChanges { changes })
    }

    fn entries(&self, state: &State, meant: impl Fn(&Entry) -> bool) -> Vec<Present> {
        let entries = state.core.entries().filter(|(_, entry)| entry.presence == self.name);
        entries
            .filter(|(_, entry)| meant(entry))
            .map(|(node, entry)| present(node, entry))
            .collect()
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PresenceChanges {
    /// Returns the next change, in order. Can be dropped while it waits.
    ///
    /// # Errors
    /// [`MissedChanges`] if it was too slow; the next call goes on after those.
    pub async fn next(&mut self) -> Result<PresenceChange, MissedChanges> {
        match self.changes.recv().await {
            Ok(change) => Ok(change),
            Err(RecvError::Lagged(missed)) => Err(MissedChanges(missed)),
            // The cluster is gone: nothing changes any more.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.shared.with(|core, now| core.untrack(now, self.id));
    }
}

fn present(node: &NodeId, entry: &Entry) -> Present {
    Present { node: node.clone(), key: text(&entry.key), meta: entry.meta.clone() }
}

/// Returns a text that was checked when it was read.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Longest name of a presence, key, and meta, in bytes.
const MAX_NAME: usize = 64;
const MAX_KEY: usize = 256;
const MAX_META: usize = 4_096;
/// Changes that wait for a listener.
const BACKLOG: usize = 1_024;
