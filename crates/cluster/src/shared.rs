//! State that a node's actor and its handles share.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient;
use uuid::Uuid;

use crate::clock::Clock;
use crate::core::{Identity, Timing};
use crate::cut::{Cut, CutDirectory, CutWire};
use crate::directory::Directory;
use crate::facts::Counts;
use crate::hold::Lease;
use crate::line::Shared as LinesShared;
use crate::liveness::Liveness;
use crate::messages::{ClaimRoom, Drain, GiveRoomBack, ListCandidates, MoveRoom, WatchRoom};
use crate::node_id::NodeId;
use crate::nodes::Nodes;
use crate::presence::Shared as PresenceShared;
use crate::topics::Topics;
use crate::wire::Wire;

/// State that a node's actor and its handles share.
pub(crate) struct Shared {
    pub(crate) directory: Box<dyn Directory>,
    pub(crate) timing: Timing,
    pub(crate) clock: Clock,
    pub(crate) name: Name,
    pub(crate) counts: Counts,
    pub(crate) topics: Arc<Topics>,
    pub(crate) presence: Arc<PresenceShared>,
    pub(crate) nodes: Nodes,
    pub(crate) cut: Cut,
    /// Whether this node takes no more rooms.
    draining: AtomicBool,
    /// Lines to the other nodes, if there is a wire.
    pub(crate) lines: Option<Arc<LinesShared>>,
    /// Number of the last session of this process.
    terms: AtomicU64,
    /// Number of the next hold.
    holds: AtomicU64,
    /// Number of the next specification, and of the next instance.
    numbers: AtomicU64,
    running: Mutex<Running>,
}

/// Names and places by which the node is known, and the lock of its name.
pub(crate) struct Name {
    pub(crate) node: NodeId,
    pub(crate) url: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) process: Uuid,
    /// Locked as long as this process uses the node's name.
    pub(crate) lock: Option<File>,
    /// Where the process answers as long as it lives. It listens for as long as anything can hold a room: the actor has
    /// this, and ends its holds before it lets go of it.
    pub(crate) liveness: Option<Liveness>,
}

/// Instance of the actor that runs, and the lease of its session.
#[derive(Default)]
struct Running {
    /// Specification and number of the instance; none if there is none.
    instance: Option<(u64, u64)>,
    actor: Option<ActorRef>,
    lease: Arc<Lease>,
}

/// Where an instance of the actor gets its messages.
#[derive(Clone)]
pub(crate) struct ActorRef {
    pub(crate) claims: Recipient<ClaimRoom>,
    pub(crate) returns: Recipient<GiveRoomBack>,
    pub(crate) drains: Recipient<Drain>,
    pub(crate) watches: Recipient<WatchRoom>,
    pub(crate) candidates: Recipient<ListCandidates>,
    pub(crate) moves: Recipient<MoveRoom>,
}

impl Running {
    fn is(&self, instance: u64) -> bool {
        self.instance.is_some_and(|(_, present)| present == instance)
    }
}

impl Shared {
    pub(crate) fn new(
        directory: Box<dyn Directory>,
        timing: Timing,
        clock: Clock,
        name: Name,
        wire: Option<Arc<dyn Wire>>,
    ) -> Self {
        let cut = Cut::new();
        let directory = Box::new(CutDirectory { directory, cut: cut.clone() });
        let wire = wire.map(|wire| Arc::new(CutWire { wire, cut: cut.clone() }) as Arc<dyn Wire>);
        let topics = Arc::new(Topics::new(name.node.clone(), wire.clone()));
        let (node, process) = (&name.node, name.process);
        let presence = PresenceShared::new(node.clone(), process, clock, wire.clone());
        let presence = Arc::new(presence);
        let lines = wire.map(|wire| {
            let others = (Arc::clone(&topics), Arc::clone(&presence));
            Arc::new(LinesShared::new(node.clone(), process, clock, wire, others))
        });
        let [terms, holds, numbers] = [0; 3].map(AtomicU64::new);
        let running = Mutex::default();
        Self {
            directory,
            timing,
            clock,
            name,
            counts: Counts::default(),
            topics,
            presence,
            nodes: Nodes::default(),
            cut,
            draining: AtomicBool::new(false),
            lines,
            terms,
            holds,
            numbers,
            running,
        }
    }

    /// Returns the number of a new specification of the actor, or of a new instance.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Admits an instance of the actor of this specification, and returns its number; none while an instance of another
    /// specification runs. What an earlier instance held is over, also if it was abandoned and still runs.
    pub(crate) fn admit(&self, spec: u64) -> Option<u64> {
        let mut running = self.running();
        if running.instance.is_some_and(|(other, _)| other != spec) {
            return None;
        }
        running.lease.end();
        let number = self.next_number();
        *running = Running { instance: Some((spec, number)), ..Running::default() };
        Some(number)
    }

    /// Returns whether no later instance was admitted.
    pub(crate) fn is_present(&self, instance: u64) -> bool {
        self.running().is(instance)
    }

    /// Notes that an instance of the actor begins to take messages.
    pub(crate) fn begin(&self, instance: u64, actor: ActorRef) {
        let mut running = self.running();
        if running.is(instance) {
            running.actor = Some(actor);
        }
    }

    /// Notes that an instance of the actor has ended.
    pub(crate) fn end(&self, instance: u64) {
        let mut running = self.running();
        if running.is(instance) {
            (running.instance, running.actor) = (None, None);
        }
    }

    /// Sets the lease of a new session of an instance. If a later instance was admitted, it is over at once.
    pub(crate) fn set_lease(&self, instance: u64, lease: Arc<Lease>) {
        let mut running = self.running();
        if running.is(instance) {
            running.lease = lease;
        } else {
            lease.end();
        }
    }

    /// Returns the lease of the present session; of the last one, if there is none.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.running().lease)
    }

    pub(crate) fn actor(&self) -> Option<ActorRef> {
        self.running().actor.clone()
    }

    /// Says from now on, also in later sessions, that this node takes no more rooms.
    pub(crate) fn drain(&self) {
        if !self.draining.swap(true, Ordering::AcqRel)
            && let Some(actor) = self.actor()
        {
            // Once.
            actor.drains.do_send(Drain);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
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
            liveness: self.name.liveness.as_ref().and_then(Liveness::address),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::embedded::Embedded;

    fn lease() -> Arc<Lease> {
        let lease = Lease::default();
        lease.extend(Clock::Boot.boot() + Duration::from_secs(600));
        Arc::new(lease)
    }

    /// An instance whose thread was blocked, and which goes on when the supervisor has abandoned it.
    #[test]
    fn an_instance_that_has_a_successor_has_no_lease_and_gets_none() {
        let node = NodeId::new("a1").unwrap();
        let (process, liveness) = (Uuid::nil(), None);
        let name = Name { node, url: None, zone: None, process, lock: None, liveness };
        let timing = Timing::new(Duration::from_secs(5));
        let shared = Shared::new(Box::new(Embedded::new()), timing, Clock::Boot, name, None);
        let spec = shared.next_number();
        let first = shared.admit(spec).unwrap();
        let [old, late, new] = [lease(), lease(), lease()];
        shared.set_lease(first, Arc::clone(&old));
        assert!(old.rest(Clock::Boot).is_some());

        let second = shared.admit(spec).unwrap();
        shared.set_lease(second, Arc::clone(&new));
        shared.set_lease(first, Arc::clone(&late));
        shared.end(first);

        assert!(!shared.is_present(first) && shared.is_present(second));
        assert!(old.rest(Clock::Boot).is_none() && late.rest(Clock::Boot).is_none());
        assert!(new.rest(Clock::Boot).is_some());
        let other = shared.next_number();
        assert_eq!(shared.admit(other), None);
        shared.end(second);
        assert!(shared.admit(other).is_some());
    }
}
