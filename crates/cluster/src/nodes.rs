//! The other nodes of a cluster, as this one has seen them last.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::node_id::NodeId;
use crate::record::{Session, SessionState};

/// Another node of the cluster, as its session says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeView {
    /// Name.
    pub node: NodeId,
    /// URL at which clients reach it, if they can.
    pub url: Option<String>,
    /// Place where it runs.
    pub zone: Option<String>,
    /// Whether it takes rooms and clients.
    pub state: SessionState,
}

/// Nodes whose sessions run.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<BTreeMap<NodeId, NodeView>>);

impl Nodes {
    pub(crate) fn see(&self, session: Session) {
        let Session { node, url, zone, state, .. } = session;
        let mut nodes = self.lock();
        if state.runs() {
            nodes.insert(node.clone(), NodeView { node, url, zone, state });
        } else {
            nodes.remove(&node);
        }
    }

    /// Forgets all, because the directory has.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    pub(crate) fn all(&self) -> Vec<NodeView> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, NodeView>> {
        // Every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
