//! Core of a node: its session, the rooms that it claims, and what it knows of the others.
//!
//! It takes the time, changes of the directory and outcomes of its calls, and says what to call. It decides by outcomes
//! of compare-and-swap and by its own boot clock; what it has seen of the directory may be of any age.

mod candidates;
mod claim;
mod give;
mod liveness;
mod others;
mod own;
mod process;
mod room;
mod sweep;
mod timing;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::others::Other;
pub(crate) use self::others::Proof;
use self::own::Own;
pub(crate) use self::process::Probed;
use self::room::Room;
pub(crate) use self::room::Ticket;
pub(crate) use self::timing::Timing;
use crate::boot_time::{BootTime, Now};
use crate::directory::{Change, DirectoryError, Key, Whole};
use crate::node_id::{Incarnation, NodeId};
use crate::record::{Claim, Epoch, Given, Revision, Session};

/// Names and places by which a node is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) url: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) process: Uuid,
    /// Number of the first session, greater than those of earlier cores of this process.
    pub(crate) term: u64,
    /// No other process has this node's name: earlier ones have ended.
    pub(crate) unique: bool,
    /// Address at which the process answers as long as it lives.
    pub(crate) liveness: Option<SocketAddr>,
}

/// Call that a core asks for. Each is a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Enter(Session, Option<Revision>),
    Renew(Session, Revision),
    Seal(Session, Option<Revision>),
    Claim(Arc<str>, Claim, Option<Revision>),
    Forget(Key, Revision),
}

/// Number of a call of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(u64);

/// Outcome of a call.
pub(crate) type Outcome = Result<Revision, DirectoryError>;

/// What a core asks its actor to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Output {
    Call(CallId, Call),
    /// The session of this term holds until this time.
    Holds(Incarnation, BootTime),
    /// The session is over, and so is every hold.
    Lapsed,
    /// The hold of this room is over, though the session goes on.
    Yielded(Arc<str>),
    /// A request for a room is answered.
    Answer(Ticket, Result<Granted, Refused>),
    /// A request to give a room to another node is answered.
    Given(Ticket, Result<Given, RefusedToGive>),
    /// Another node's session was sealed, by this node, for this reason.
    Sealed(NodeId, Proof),
    /// It is to be looked whether the process of this node listens at this address.
    Probe(NodeId, SocketAddr),
    /// This node has found the present process gone, though it lives: something refuses connections in its place.
    TakenForGone(NodeId),
    /// The session has replaced one of an earlier process of this node, which has ended.
    Replaced,
    /// Another node, or another process under this node's name, has a session of this run and state now.
    Seen(Box<Session>),
    /// The directory has forgotten all sessions.
    Forgotten,
    /// The stream of changes says nothing of what must have changed: another is needed.
    Refresh,
}

/// Hold of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Granted {
    pub(crate) epoch: Epoch,
    /// Epoch of the claim before it, of any node; none if the directory had none.
    pub(crate) after: Option<Epoch>,
    /// Whether another node has given it to this one.
    pub(crate) given: bool,
}

/// Refusal of a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// Another node runs it.
    Elsewhere { node: NodeId, url: Option<String>, epoch: Epoch },
    /// It is not known who may run it. It may be known after this time.
    Unavailable(Duration),
}

/// Refusal to give a room to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RefusedToGive {
    /// This node does not hold it, or not any more.
    NotHeld,
    /// The other node takes no rooms, as far as is known.
    NoSuchNode,
    /// The directory is not seen, or a claim of the room is being written. This node holds it.
    Unavailable,
}

/// Core of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Core {
    me: Identity,
    timing: Timing,
    own: Own,
    view: View,
    others: BTreeMap<NodeId, Other>,
    /// Boxed, since a map leaves places free.
    rooms: BTreeMap<Arc<str>, Box<Room>>,
    /// Rooms that something is to be done for.
    active: BTreeSet<Arc<str>>,
    /// Rooms of the calls that are under way.
    room_calls: BTreeMap<CallId, Arc<str>>,
    /// Time to look for records that are of no use any more.
    sweep_at: BootTime,
    calls: u64,
    outputs: VecDeque<Output>,
}

/// What is known of the directory as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct View {
    /// Whether all changes are seen: none before the first whole state, nor after a loss.
    whole: bool,
    /// Time when the stream of changes was asked for, or last said that it has missed some; none once it is whole, and
    /// while another is to be asked for.
    asked: Option<BootTime>,
    /// Streams in a row that have hung.
    hung: u32,
    /// Generation of the last whole state.
    generation: Option<u64>,
    /// Greatest revision seen, in changes or outcomes.
    revision: u64,
    /// Greatest revision in the changes.
    streamed: u64,
    /// Time until which no room is taken: the directory has forgotten claims, and those that hold them write them
    /// again.
    healing_until: BootTime,
    /// Longest hold of a session that was ever seen.
    longest_hold: Duration,
}

impl Core {
    pub(crate) fn new(me: Identity, timing: Timing) -> Self {
        Self {
            own: Own::new(me.process, me.term),
            me,
            timing,
            view: View::default(),
            others: BTreeMap::new(),
            rooms: BTreeMap::new(),
            active: BTreeSet::new(),
            room_calls: BTreeMap::new(),
            sweep_at: BootTime::ZERO,
            calls: 0,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns whether the session holds at this time.
    pub(crate) fn stands(&self, now: BootTime) -> bool {
        self.own.deadline.is_some_and(|deadline| now < deadline)
    }

    /// Returns the epoch at which a room is held at this time.
    #[cfg(test)]
    pub(crate) fn held(&self, room: &str, now: BootTime) -> Option<Epoch> {
        let room = self.rooms.get(room)?;
        let held = room.held.as_ref().filter(|_| room.giving.is_none())?;
        self.stands(now).then_some(held.epoch)
    }

    pub(crate) fn handle_change(&mut self, now: Now, change: Change) {
        self.look_at_deadline(now);
        match change {
            Change::Whole(whole) => self.handle_whole(now, whole),
            Change::Session(session, revision) => {
                self.saw(revision);
                self.see_session(now, session, revision);
            }
            Change::Claim(room, claim, revision) => {
                self.saw(revision);
                self.see_claim(now, &room, Some((claim, revision)), revision);
            }
            Change::Forgotten(Key::Node(node), revision) => {
                self.saw(revision);
                self.see_no_session(now, &node, revision);
            }
            Change::Forgotten(Key::Room(room), revision) => {
                self.saw(revision);
                self.see_claim(now, &room, None, revision);
            }
            Change::Lost => (self.view.whole, self.view.asked) = (false, Some(now.boot)),
        }
        self.handle_timeout(now);
    }

    /// Handles that a stream of changes was asked for, in place of the one before.
    pub(crate) fn handle_asked(&mut self, now: Now) {
        (self.view.whole, self.view.asked) = (false, Some(now.boot));
        self.handle_timeout(now);
    }

    pub(crate) fn handle_outcome(&mut self, now: Now, id: CallId, outcome: Outcome) {
        self.look_at_deadline(now);
        if self.own.call.as_ref().is_some_and(|call| call.id == id) {
            self.handle_own_outcome(now, outcome);
        } else if let Some(node) = self.sealing(id) {
            self.handle_sealed(now, &node, outcome);
        } else if let Some(room) = self.room_calls.remove(&id) {
            self.handle_claim_outcome(now, &room, outcome);
        }
        self.handle_timeout(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.tend_own(now);
        self.look_at_processes(now);
        self.tend_others(now);
        self.tend_rooms(now);
        self.sweep(now);
    }

    /// Returns when something is due. It is right until the next input.
    pub(crate) fn poll_timeout(&self) -> BootTime {
        let others = self.others.values().filter_map(|other| self.silence_ends(other));
        let rooms = self.active.iter().filter_map(|room| self.rooms.get(room)?.due());
        let own = self.own.deadline.into_iter().chain([self.sweep_at]);
        own.chain(self.renewal_due())
            .chain(self.hangs_at())
            .chain(self.look_due())
            .chain(others)
            .chain(rooms)
            .min()
            .expect("the next sweep is always due")
    }

    /// Takes all that the directory has, in place of what was known. If that is less than before, the directory has
    /// forgotten it: what this node holds is written again, and nothing that may be another's is taken meanwhile.
    fn handle_whole(&mut self, now: Now, whole: Whole) {
        let other = self.view.generation.is_some_and(|generation| generation != whole.generation);
        let forgot = other || whole.revision < self.view.revision;
        if forgot {
            (self.view.revision, self.view.streamed) = (0, 0);
            self.view.healing_until = now.boot + self.timing.silence_of(self.view.longest_hold);
            self.forget_rooms();
            self.others.clear();
            self.own.forget();
            self.outputs.push_back(Output::Forgotten);
        }
        (self.view.whole, self.view.asked, self.view.hung) = (true, None, 0);
        self.view.generation = Some(whole.generation);
        self.saw(Revision(whole.revision));
        // No silence before this counts: nothing was heard.
        self.others.values_mut().for_each(|other| other.since = now.boot);
        let end = Revision(whole.revision);
        let there = |node: &NodeId| whole.sessions.iter().any(|(session, _)| session.node == *node);
        let known = self.others.keys().chain([&self.me.node]);
        let gone: Vec<NodeId> = known.filter(|node| !there(node)).cloned().collect();
        gone.iter().for_each(|node| self.see_no_session(now, node, end));
        for (session, revision) in whole.sessions {
            self.see_session(now, session, revision);
        }
        let claims = whole.claims.into_iter();
        let claims: BTreeMap<_, _> = claims.map(|(room, claim, at)| (room, (claim, at))).collect();
        let known = self.rooms.keys().filter(|room| !claims.contains_key(*room));
        for room in known.cloned().collect::<Vec<_>>() {
            self.see_claim(now, &room, None, end);
        }
        for (room, (claim, at)) in claims {
            self.see_claim(now, &room, Some((claim, at)), at);
        }
    }

    /// Notes that the stream of changes has come to this revision.
    fn saw(&mut self, Revision(revision): Revision) {
        self.view.streamed = self.view.streamed.max(revision);
        self.view.revision = self.view.revision.max(revision);
        if self.own.unseen.is_some_and(|(unseen, _)| unseen.0 <= revision) {
            self.own.unseen = None;
        }
    }

    fn call(&mut self, call: Call) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.outputs.push_back(Output::Call(id, call));
        id
    }
}
