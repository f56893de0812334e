//! Access to a supervision tree, and what all routes share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use callboard_supervision::{SupervisorRef, TreeSnapshot};
use callboard_websocket::{ConnectionCount, MetricSource};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use crate::access::Authorization;
use crate::cluster::Nodes;
use crate::contain_panic::contain_panic;
use crate::event_counts::EventCounts;
use crate::recovery::{LONGEST, Measured, MeasuredError, Recovery, RecoverySummary, Table};
use crate::tree::Tree;
use crate::webrtc::WebRtc;

/// Access to a supervision tree. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Admin {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) type Annotator = dyn Fn(&TreeSnapshot) -> Option<Value> + Send + Sync;

pub(crate) type Readiness =
    dyn Fn() -> Result<Map<String, Value>, Map<String, Value>> + Send + Sync;

pub(crate) type Drain = dyn Fn() + Send + Sync;

pub(crate) struct Inner {
    pub(crate) root: SupervisorRef,
    pub(crate) webrtc: WebRtc,
    pub(crate) nodes: Nodes,
    pub(crate) annotators: Vec<Box<Annotator>>,
    pub(crate) sources: Vec<Arc<dyn MetricSource>>,
    pub(crate) readiness: Option<Box<Readiness>>,
    pub(crate) drain: Option<Box<Drain>>,
    /// Whether this node of a cluster may be cut off and killed.
    pub(crate) node_faults: bool,
    pub(crate) access: Authorization,
    /// Sample that all clients of the stream share.
    pub(crate) sample: tokio::sync::Mutex<Option<Sample>>,
    /// Trees of all nodes of the cluster, as they were asked for last.
    pub(crate) all_nodes: tokio::sync::Mutex<Option<(Instant, Tree)>>,
    pub(crate) tally: Mutex<EventCounts>,
    pub(crate) table: Mutex<Table>,
    pub(crate) events: broadcast::Sender<ByteString>,
    pub(crate) streams: Arc<ConnectionCount>,
    pub(crate) began: Instant,
    /// Dropping it ends the watching.
    pub(crate) _end: oneshot::Sender<()>,
}

pub(crate) struct Sample {
    at: Instant,
    version: u64,
    tree: Tree,
    encoded: ByteString,
}

impl Admin {
    /// Returns the current tree. The details of peer connections are up to 250 ms old.
    pub async fn tree(&self) -> Tree {
        let inner = &self.inner;
        let known = inner.webrtc.details().await;
        let details = |node: &TreeSnapshot| {
            let mut details = inner.annotations(node);
            known.extend(node, &mut details);
            details
        };
        let mut trees = inner.snapshots().into_iter().map(|tree| Tree::of(&tree, &details));
        let mut tree = trees.next().expect("the root is always there");
        tree.children.extend(trees);
        inner.webrtc.graft(&mut tree);
        tree
    }

    /// Returns the last 256 recoveries, the latest last.
    pub fn recoveries(&self) -> Vec<Recovery> {
        self.inner.table().rows()
    }

    /// Returns summaries of these recoveries, for each kind of actor and exit.
    pub fn recovery_summaries(&self) -> Vec<RecoverySummary> {
        self.inner.table().summaries()
    }

    /// Stores times that were measured for a recovery.
    ///
    /// # Errors
    /// [`MeasuredError`]
    pub fn measured(&self, recovery: u64, measured: Measured) -> Result<(), MeasuredError> {
        let Measured { messages_ms, media_ms } = measured;
        let mut times = messages_ms.iter().chain(&media_ms).peekable();
        if times.peek().is_none() || !times.all(|time| (0.0..=LONGEST).contains(time)) {
            return Err(MeasuredError::BadTime);
        }
        self.inner.table().measured(recovery, measured).ok_or(MeasuredError::NotFound)?;
        self.inner.publish_recoveries();
        Ok(())
    }

    /// Returns the tree for the stream, with a version that changes when the tree does. `anew`: with the current times.
    pub(crate) async fn sample(&self, anew: bool) -> (u64, ByteString) {
        let mut sample = self.inner.sample.lock().await;
        let now = Instant::now();
        match &*sample {
            // A little less, because timers are not exact.
            Some(sample) if !anew && now.duration_since(sample.at) < SAMPLE_EVERY * 3 / 4 => {}
            _ => {
                let tree = self.tree().await;
                let before = sample.take();
                let changed = before.as_ref().is_none_or(|before| before.tree.differs(&tree));
                *sample = Some(match before {
                    Some(before) if !changed && !anew => Sample { at: now, ..before },
                    before => {
                        let encoded = json!({ "kind": "tree", "tree": tree }).to_string().into();
                        let version =
                            before.map_or(0, |before| before.version + u64::from(changed));
                        Sample { at: now, version, tree, encoded }
                    }
                });
            }
        }
        let Sample { version, encoded, .. } = sample.as_ref().expect("it has just been made");
        (*version, encoded.clone())
    }
}

impl Inner {
    pub(crate) fn publish_recoveries(&self) {
        for recovery in self.table().take_changed() {
            // An error only means that there are no clients.
            _ = self.events.send(encode(&recovery));
        }
    }

    /// Returns what the stream says of all recoveries.
    pub(crate) fn all_recoveries(&self) -> Vec<ByteString> {
        self.table().rows().iter().map(encode).collect()
    }

    /// Returns the topmost supervisors: the root, and that of the peer connections if it is not below the root.
    pub(crate) fn roots(&self) -> Vec<SupervisorRef> {
        let root: Vec<&str> = self.root.path().names().collect();
        let apart = self.webrtc.supervisor();
        let apart = apart.filter(|it| !it.path().names().take(root.len()).eq(root.iter().copied()));
        [Some(&self.root), apart].into_iter().flatten().cloned().collect()
    }

    pub(crate) fn trees(&self) -> impl Iterator<Item = (SupervisorRef, TreeSnapshot)> {
        self.roots().into_iter().map(|root| {
            let snapshot = root.snapshot();
            (root, snapshot)
        })
    }

    pub(crate) fn snapshots(&self) -> Vec<TreeSnapshot> {
        self.trees().map(|(_, snapshot)| snapshot).collect()
    }

    fn annotations(&self, node: &TreeSnapshot) -> Map<String, Value> {
        let mut details = Map::new();
        for annotate in &self.annotators {
            match contain_panic("annotate", || annotate(node)).flatten() {
                Some(Value::Object(members)) => details.extend(members),
                Some(note) => _ = details.insert("note".to_owned(), note),
                None => {}
            }
        }
        if self.nodes.room_of(node).is_some() {
            details.insert("faults".to_owned(), json!(["move"]));
        }
        details
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, EventCounts> {
        // Counts can be wrong by one, no more.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that is called while it is held panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

/// Returns what the stream says of a recovery.
fn encode(recovery: &Recovery) -> ByteString {
    json!({ "kind": "recovery", "recovery": recovery }).to_string().into()
}

/// Interval of trees for the stream, if they change.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(250);
