//! Room that another node is about to give to this one: what it has sent of the room, and the hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use callboard_cluster::{Hold, NodeId};

use crate::peer_id::PeerId;
use crate::snapshot::Snapshot;

/// Room that another node is about to give to this one. At most one at a time.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<Progress>);

#[derive(Default)]
enum Progress {
    #[default]
    None,
    Expected,
    Arrived(Box<Arrival>),
}

/// Room that another node has given to this one.
pub(crate) struct Arrival {
    pub(crate) hold: Hold,
    pub(crate) state: RoomState,
}

/// What goes with a room to another node, besides what its nodes offer.
pub(crate) struct RoomState {
    /// State of the room; none if it begins anew, with its members.
    pub(crate) snapshot: Option<Snapshot>,
    /// Peers that the state knows to be members.
    pub(crate) members: Vec<PeerId>,
    /// Nodes that have peers in the room, or may have.
    pub(crate) nodes: Vec<NodeId>,
}

impl Arrivals {
    /// Expects the room. Returns false if it is expected already.
    pub(crate) fn expect(&self) -> bool {
        let mut progress = self.lock();
        let is_free = matches!(*progress, Progress::None);
        if is_free {
            *progress = Progress::Expected;
        }
        is_free
    }

    /// Notes that this node has the room.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        *self.lock() = Progress::Arrived(Box::new(arrival));
    }

    /// Expects the room no more.
    pub(crate) fn end(&self) {
        let before = std::mem::take(&mut *self.lock());
        // Not while it is locked: it may give the room back.
        drop(before);
    }

    pub(crate) fn is_expected(&self) -> bool {
        !matches!(*self.lock(), Progress::None)
    }

    pub(crate) fn has_arrived(&self) -> bool {
        matches!(*self.lock(), Progress::Arrived(_))
    }

    /// Returns the room that has arrived, once.
    pub(crate) fn take(&self) -> Option<Arrival> {
        let mut progress = self.lock();
        match std::mem::take(&mut *progress) {
            Progress::Arrived(arrival) => Some(*arrival),
            before => {
                *progress = before;
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
