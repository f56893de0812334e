//! What a node knows of a room, and wants of it.

use uuid::Uuid;

use super::{CallId, Granted, Refused};
use crate::boot_time::BootTime;
use crate::node_id::{Incarnation, NodeId};
use crate::record::{Claim, Epoch, Holder, Revision};

/// Number of a request for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What is known of a room, and wanted of it. There is one for each room of the cluster: what most rooms have none of
/// most of the time is boxed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Room {
    /// Claim seen last, or written.
    pub(super) seen: Option<(Claim, Revision)>,
    /// Time when it was.
    pub(super) since: BootTime,
    pub(super) held: Option<Held>,
    /// It is being given to another node.
    pub(super) giving: Option<Box<Giving>>,
    /// It is about to be given to this node.
    pub(super) expecting: Vec<Expecting>,
    /// Requests, and until when each waits.
    pub(super) waiting: Vec<(Ticket, BootTime)>,
    pub(super) call: Option<Box<(CallId, Attempt)>>,
    /// Claim whose outcome is not known.
    pub(super) tried: Option<Box<Claim>>,
    /// Revision at which the last call met a conflict: there is something newer, which will be seen.
    pub(super) stale: Option<Option<Revision>>,
    /// Epoch of the first claim of the room, if this node wrote it and has not held the room since.
    pub(super) first: Option<Epoch>,
    /// Epoch of the claim that the one of this node's hold, or of its last try, has replaced.
    pub(super) after: Option<Epoch>,
    /// Whether another node has given the room to this one, which holds it by that.
    pub(super) is_given: bool,
    /// Claims that this process has tried to write since it was granted the room last.
    pub(super) tries: Vec<Try>,
    /// Time before which nothing is tried again; zero once it has come.
    pub(super) not_before: BootTime,
}

/// Hold of a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    /// Whether the directory has the claim: not if it has forgotten it.
    pub(super) confirmed: bool,
}

/// Call for a room that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attempt {
    Hold(Claim, Option<Revision>),
    /// Writes the claim of another node.
    Give(Claim, Option<Revision>),
    Release(Claim, Revision),
    Forget(Revision),
}

/// What to do next for a room.
pub(super) enum Step {
    Rest,
    Answer(Result<Granted, Refused>),
    Yield,
    Hold(Epoch),
    Release(Epoch, Revision),
    Give(Claim),
    /// Another node has the room by the claim of this epoch.
    Gave(Epoch, Revision),
    /// Holds a room that was given to this node.
    Take(Epoch),
}

/// Room that is being given to another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Giving {
    pub(super) ticket: Ticket,
    /// Claim of the other node.
    pub(super) claim: Claim,
}

/// Room that another node is about to give to this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Expecting {
    pub(super) ticket: Ticket,
    /// Number of the other node's hold.
    pub(super) from: Epoch,
}

/// Claim that this process has tried to write, and that gave it no hold yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Try {
    pub(super) epoch: Epoch,
    /// Epoch of the claim that it has replaced, if it was written.
    pub(super) after: Option<Epoch>,
    /// Whether it was seen in the directory: then a later record of the same epoch is of this process, too.
    pub(super) seen: bool,
}

impl Room {
    /// Returns when something is due, if no outcome or change comes before.
    pub(super) fn due(&self) -> Option<BootTime> {
        let retry = self.call.is_none() && self.not_before > BootTime::ZERO;
        let waiting = self.waiting.iter().map(|&(_, until)| until);
        waiting.chain(retry.then_some(self.not_before)).min()
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.seen.as_ref().map(|&(_, revision)| revision)
    }

    pub(super) fn holder(&self) -> Option<&Holder> {
        self.seen.as_ref().and_then(|(claim, _)| claim.holder.as_ref())
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.confirmed)
    }

    pub(super) fn is_active(&self) -> bool {
        !self.waiting.is_empty()
            || self.is_unconfirmed()
            || self.giving.is_some()
            || !self.expecting.is_empty()
    }

    /// Returns whether the directory has a claim of this run for a room that it does not hold: the room was given back,
    /// or the claim was carried out when no request waited any more.
    pub(super) fn is_left_over(&self, me: &NodeId, incarnation: Incarnation) -> bool {
        let mine = self.holder().is_some_and(|h| h.node == *me && h.incarnation == incarnation);
        mine && self.held.is_none()
    }

    /// Returns whether nothing is known of the room, nor wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_none() && self.held.is_none() && self.call.is_none() && !self.is_active()
    }

    /// Returns the hold of a room.
    pub(super) fn granted(&self, epoch: Epoch) -> Granted {
        Granted { epoch, after: self.after, given: self.is_given }
    }

    /// Returns whether a claim of this epoch is one that another node was about to give to this one.
    pub(super) fn expects(&self, epoch: Epoch) -> bool {
        self.expecting.iter().any(|expecting| epoch > expecting.from)
    }

    /// Returns the epoch of the last claim but those of this process that gave it no hold.
    pub(super) fn granted_last(&self, me: &NodeId, process: Uuid) -> Option<Epoch> {
        let (claim, _) = self.seen.as_ref()?;
        let mine =
            self.holder().is_some_and(|it| it.node == *me && it.incarnation.process == process);
        let is_it = |tried: &&Try| tried.epoch == claim.epoch && (mine || tried.seen);
        self.tries.iter().find(is_it).map_or(Some(claim.epoch), |tried| tried.after)
    }

    pub(super) fn has_tried(&mut self, epoch: Epoch, after: Option<Epoch>) {
        self.tries.retain(|tried| tried.epoch != epoch);
        if self.tries.len() >= MOST_TRIES {
            self.tries.remove(0);
        }
        self.tries.push(Try { epoch, after, seen: false });
    }

    /// Handles that the room is held: what was tried before does not matter any more.
    pub(super) fn begins_to_hold(&mut self) {
        (self.tried, self.first) = (None, None);
        self.tries.clear();
    }
}

/// Number of claims of a room that are remembered though their outcomes may never be known.
const MOST_TRIES: usize = 8;
