//! Node of a supervisor in the tree, with the table of its children.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::lock::lock;
use crate::policy::{ChildId, Flags, Key};
use crate::tree::{ActorRecord, TreeSnapshot};

/// Node of a supervisor in the tree, with the table of its children; kept through its restarts.
pub(crate) struct Node {
    pub(crate) record: Arc<ActorRecord>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Number of the supervisor's instance to which this table belongs.
    generation: u64,
    flags: Option<Flags>,
    /// Time when a child was last forgotten.
    forgot: Option<Instant>,
    /// Number of children in the start list; they have the lowest keys.
    listed: usize,
    /// Entries of children of the start list that were forgotten.
    retired: Vec<(ChildId, Entry)>,
    entries: BTreeMap<Key, Entry>,
    ids: HashMap<ChildId, Key>,
}

impl Table {
    fn remove(&mut self, generation: u64, key: Key) -> Option<Entry> {
        if self.generation != generation {
            return None;
        }
        let entry = self.entries.remove(&key)?;
        self.ids.remove(entry.record.path.name());
        self.forgot = Some(Instant::now());
        if key.0 < self.listed as u64 {
            self.retired.push((Arc::clone(entry.record.path.last()), entry.clone()));
        }
        Some(entry)
    }
}

/// Entry of a child in the table.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) record: Arc<ActorRecord>,
    /// `Slot<A>` of the child's actor type.
    pub(crate) slot: Arc<dyn Any + Send + Sync>,
    /// The child's own node, if it is a supervisor.
    pub(crate) node: Option<Arc<Node>>,
}

impl Node {
    pub(crate) fn new(record: Arc<ActorRecord>) -> Arc<Self> {
        Arc::new(Self { record, table: Mutex::default() })
    }

    /// Begins a new instance of the supervisor, with the `listed` children of its start list. Returns the number of the
    /// instance, and the entries of the start list's children in the last one.
    pub(crate) fn reset(&self, flags: Flags, listed: usize) -> (u64, HashMap<ChildId, Entry>) {
        let (generation, Table { listed, entries, retired, .. }) = {
            let mut table = lock(&self.table);
            let generation = table.generation + 1;
            let new = Table { generation, flags: Some(flags), listed, ..Table::default() };
            (generation, std::mem::replace(&mut *table, new))
        };
        let kept = entries.into_iter().take_while(|(key, _)| key.0 < listed as u64);
        let kept = kept.map(|(_, entry)| (Arc::clone(entry.record.path.last()), entry));
        (generation, retired.into_iter().chain(kept).collect())
    }

    /// Returns whether the supervisor has no later instance than this one. An instance that was killed may still be
    /// stopping its children when the next one has begun, and that must not change the next one's table.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        lock(&self.table).generation == generation
    }

    /// Adds a child of the supervisor's current instance.
    pub(crate) fn insert(&self, generation: u64, key: Key, id: ChildId, entry: Entry) {
        let mut table = lock(&self.table);
        if table.generation != generation {
            return;
        }
        table.ids.insert(id, key);
        table.entries.insert(key, entry);
    }

    /// Removes a child of the supervisor's current instance, and reports that.
    pub(crate) fn remove(&self, generation: u64, key: Key) {
        let Some(entry) = lock(&self.table).remove(generation, key) else { return };
        entry.record.removed();
        self.record.changed();
    }

    /// Logs that the supervisor ends because this child would have to be restarted too often.
    pub(crate) fn gave_up(&self, child: &str) {
        let path = &self.record.path;
        let Some(Flags { intensity, period, .. }) = lock(&self.table).flags else { return };
        log::error!(
            "{path} gives up: more restarts than {intensity} in {period:?}, the last of {child}"
        );
    }

    pub(crate) fn find(&self, id: &str) -> Option<Entry> {
        let table = lock(&self.table);
        table.entries.get(table.ids.get(id)?).cloned()
    }

    /// Returns the tree from this supervisor down.
    pub(crate) fn snapshot(&self) -> TreeSnapshot {
        self.snapshot_at(Instant::now())
    }

    fn snapshot_at(&self, now: Instant) -> TreeSnapshot {
        let mut snapshot = self.record.snapshot(now);
        // Copied out first, so that no two tables are ever locked at once.
        let entries: Vec<Entry> = lock(&self.table).entries.values().cloned().collect();
        snapshot.children = entries.iter().map(|entry| entry.snapshot(now)).collect();
        // After the children: any that are missing among them were forgotten by then.
        let table = lock(&self.table);
        snapshot.flags = table.flags;
        snapshot.forgot = table.forgot.map(|at| now.saturating_duration_since(at));
        snapshot
    }
}

impl Entry {
    fn snapshot(&self, now: Instant) -> TreeSnapshot {
        match &self.node {
            Some(node) => node.snapshot_at(now),
            None => self.record.snapshot(now),
        }
    }
}
