//! What a node's actor and its handles share.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient;
use uuid::Uuid;

use crate::clock::Clock;
use crate::core::{Identity, Timing};
use crate::directory::Directory;
use crate::hold::Lease;
use crate::messages::{ClaimRoom, GiveRoomBack};
use crate::node_id::NodeId;

/// What a node's actor and its handles share.
pub(crate) struct Shared {
    pub(crate) directory: Box<dyn Directory>,
    pub(crate) timing: Timing,
    pub(crate) clock: Clock,
    pub(crate) name: Name,
    /// Number of the last session of this process.
    terms: AtomicU64,
    /// Number of the next hold.
    holds: AtomicU64,
    running: Mutex<Running>,
}

/// Who the node is.
pub(crate) struct Name {
    pub(crate) node: NodeId,
    pub(crate) url: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) process: Uuid,
    /// Locked as long as this process uses the node's name.
    pub(crate) lock: Option<File>,
}

/// Instance of the actor that runs, and the lease of its session.
#[derive(Default)]
struct Running {
    actor: Option<ActorRef>,
    lease: Arc<Lease>,
}

/// Where an instance of the actor gets its messages.
#[derive(Clone)]
pub(crate) struct ActorRef {
    pub(crate) claims: Recipient<ClaimRoom>,
    pub(crate) returns: Recipient<GiveRoomBack>,
}

impl Shared {
    pub(crate) fn new(
        directory: Box<dyn Directory>,
        timing: Timing,
        clock: Clock,
        name: Name,
    ) -> Self {
        let (terms, holds, running) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        Self { directory, timing, clock, name, terms, holds, running }
    }

    /// Notes that an instance of the actor begins. What an earlier one held is over.
    pub(crate) fn begin(&self, actor: ActorRef) {
        let mut running = self.running();
        running.lease.end();
        *running = Running { actor: Some(actor), lease: Arc::default() };
    }

    /// Notes that the actor has left the cluster.
    pub(crate) fn end(&self) {
        self.running().actor = None;
    }

    /// Sets the lease of a new session.
    pub(crate) fn set_lease(&self, lease: Arc<Lease>) {
        self.running().lease = lease;
    }

    /// Returns the lease of the present session; of the last one, if there is none.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.running().lease)
    }

    pub(crate) fn actor(&self) -> Option<ActorRef> {
        self.running().actor.clone()
    }

    /// Returns who the node is, for a core that has had no session yet.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            node: self.name.node.clone(),
            url: self.name.url.clone(),
            zone: self.name.zone.clone(),
            process: self.name.process,
            term: self.terms.load(Ordering::Relaxed) + 1,
            unique: self.name.lock.is_some(),
        }
    }

    /// Notes that the session of this term is entered: the next one is another.
    pub(crate) fn used(&self, term: u64) {
        self.terms.fetch_max(term, Ordering::Relaxed);
    }

    pub(crate) fn next_hold(&self) -> u64 {
        self.holds.fetch_add(1, Ordering::Relaxed)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Every change is one assignment.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
