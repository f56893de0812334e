//! What a load balancer knows of the nodes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nodes to which no new clients are sent. Its clones are one.
#[derive(Clone, Default)]
pub(super) struct Balancer(Arc<Mutex<BTreeSet<String>>>);

impl Balancer {
    /// Sends no more clients to a node, or clients again.
    pub(super) fn set(&self, node: &str, takes_clients: bool) {
        match takes_clients {
            true => _ = self.lock().remove(node),
            false => _ = self.lock().insert(node.to_owned()),
        }
    }

    pub(super) fn sends_to(&self, node: &str) -> bool {
        !self.lock().contains(node)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
