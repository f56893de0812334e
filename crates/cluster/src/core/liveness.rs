//! Processes of other nodes: whether they are gone, by connecting to them and by what other nodes have found.
//!
//! A node that finds a process gone says so in its own session. Two nodes must have found it, or the only other one,
//! and the finding must have stood for a while: a node that lives renews its session when it sees it, and a finding
//! about an earlier renewal counts for nothing. So a live node is taken for dead only if it cannot write to the
//! directory while others are refused in its place.

use std::ops::Bound;

use super::others::Other;
use super::process::{Probed, Process};
use super::{Core, Output};
use crate::boot_time::{BootTime, Now};
use crate::node_id::NodeId;
use crate::record::Gone;

impl Core {
    /// Handles what has become of a connection to another node's process.
    pub(crate) fn handle_probed(&mut self, now: Now, node: &NodeId, probed: Probed) {
        self.look_at_deadline(now);
        if let Some(other) = self.others.get_mut(node) {
            other.process.next = now.boot + self.timing.look;
            let news = match &other.record {
                Some((session, _)) => other.process.handle_probed(session, probed),
                None => {
                    other.process = Process::default();
                    false
                }
            };
            if news {
                self.renew_at_once(now);
            }
        }
        self.handle_timeout(now);
    }

    /// Looks at the processes that this node is to watch.
    pub(super) fn look_at_processes(&mut self, now: Now) {
        let due = self
            .watched()
            .filter(|(_, other)| other.process.asking.is_none() && other.process.next <= now.boot);
        let due: Vec<_> = due
            .filter_map(|(node, other)| {
                let (session, _) = other.record.as_ref()?;
                Some((node.clone(), Gone::new(session), session.liveness?))
            })
            .collect();
        for (node, asked, address) in due {
            self.outputs.push_back(Output::Probe(node.clone(), address));
            if let Some(other) = self.others.get_mut(&node) {
                other.process.asking = Some((asked, address));
            }
        }
    }

    /// Returns when to look at a process next.
    pub(super) fn look_due(&self) -> Option<BootTime> {
        let idle = self.watched().filter(|(_, other)| other.process.asking.is_none());
        idle.map(|(_, other)| other.process.next).min()
    }

    /// Returns the nodes whose processes this node watches: some of those that come before it, in a ring of names.
    /// None while its own session is not good, since it could not say what it finds.
    fn watched(&self) -> impl Iterator<Item = (&NodeId, &Other)> {
        let most = if self.own.deadline.is_some() && self.view.whole { WATCHED } else { 0 };
        let me = &self.me.node;
        let before = self.others.range::<NodeId, _>((Bound::Unbounded, Bound::Excluded(me)));
        let after = self.others.range::<NodeId, _>((Bound::Excluded(me), Bound::Unbounded));
        let listens = |other: &Other| {
            let record = other.record.as_ref();
            record.is_some_and(|(session, _)| session.state.runs() && session.liveness.is_some())
        };
        before.rev().chain(after.rev()).filter(move |(_, other)| listens(other)).take(most)
    }

    /// Returns the number of the nodes that this one watches whose processes have answered.
    pub(crate) fn answering(&self) -> usize {
        let answering = self.watched().filter(|(_, other)| {
            other.record.as_ref().is_some_and(|(session, _)| other.process.has_answered(session))
        });
        answering.count()
    }

    /// Returns what this node has found of other nodes' processes, for its own session.
    pub(super) fn found_gone(&self) -> Vec<Gone> {
        let found = self.others.values().filter_map(|other| {
            let (session, _) = other.record.as_ref()?;
            other.process.gone(session).map(|(gone, _)| gone.clone())
        });
        found.take(MOST_GONE).collect()
    }

    /// Handles that the directory has this node's session with these findings.
    pub(super) fn told_gone(&mut self, now: Now, told: &[Gone]) {
        for gone in told {
            let other = self.others.get_mut(&gone.node);
            match other.and_then(|other| other.process.gone.as_mut()) {
                Some((found, since)) if found == gone => _ = since.get_or_insert(now.boot),
                _ => {}
            }
        }
    }

    /// Sees what another node has found of processes: this node says that it lives, and looks itself at the others.
    pub(super) fn see_found(&mut self, now: Now, finder: &NodeId, found: &[Gone]) {
        for gone in found {
            if gone.node == self.me.node {
                if gone.incarnation == self.own.incarnation {
                    self.outputs.push_back(Output::TakenForGone(finder.clone()));
                    self.object(now);
                }
            } else if let Some(other) = self.others.get_mut(&gone.node) {
                other.process.next = other.process.next.min(now.boot);
            }
        }
    }

    /// Returns since when, or from when on, a node's process is proven to be gone; none if it is not.
    pub(super) fn proven_gone(&self, other: &Other) -> Option<BootTime> {
        let (session, _) = other.record.as_ref()?;
        let (gone, told) = other.process.gone(session)?;
        let told = (*told)?;
        let witnesses = self.others.iter().filter_map(|(node, witness)| {
            let (of, _) = witness.record.as_ref()?;
            let counts = *node != session.node && *node != self.me.node && of.state.runs();
            counts.then(|| of.gone.contains(gone))
        });
        let (mut nodes, mut found) = (1, 1);
        for has_found in witnesses {
            nodes += 1;
            found += usize::from(has_found);
        }
        (found >= nodes.min(WITNESSES)).then(|| told + self.timing.objection)
    }
}

/// Nodes that must have found a process gone, if there are so many others.
const WITNESSES: usize = 2;
/// Number of nodes whose processes a node watches, and by which each is watched: some of them may die together.
const WATCHED: usize = 3;
/// Most findings in a session.
const MOST_GONE: usize = 8;
