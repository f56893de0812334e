//! Roster of a room: which peers are members, and which join, leave, or come back after a crash. A core without I/O
//! that outlives the room's actor.
//!
//! The actor and the peers' memberships tell it what happens; the actor carries out its [`Output`]s, one after another.
//! Every peer that joined leaves exactly once, also where the actor ends in the middle of an output.

mod adoption;
mod entries;
mod hand_over;
mod listing;
mod lookup;
mod moving;
mod tags;

use std::collections::{BTreeSet, VecDeque};

use callboard_outbox::CloseFrame;
use serde_json::{Map, Value};

use crate::error::JoinError;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::server_messages::Description;
use adoption::Adoption;
pub(crate) use adoption::{Offered, Origin, View};
use entries::{Entries, Entry, State};
pub(crate) use moving::Leaving;
use tags::Tags;

/// Peers of one room, from the reservation of a membership until the departure was announced.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    phase: Phase,
    entries: Entries,
    /// Peers in [`State::Departed`], in the order of their departure.
    departed: Vec<PeerId>,
    steps: VecDeque<Step>,
    /// Step whose output is being carried out.
    current: Option<Step>,
    /// The room works no message, so that none may reach its addressees without it.
    is_frozen: bool,
    moving: moving::Moving,
    /// What was brought from an earlier home of the room.
    adoption: Option<Box<Adoption>>,
    tags: Option<Box<Tags>>,
    /// Members whose clients are to be told who is a member.
    lists_owed: BTreeSet<PeerId>,
}

/// Phase of a room's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No instance of the room has run yet.
    #[default]
    Opening,
    Open,
    /// The room has crashed, and does not run again yet or has not readopted its members.
    Restarting,
    /// The room is being closed in good order: no peer can join any more, and `on_terminate` is due.
    Closing,
    /// The room was closed in good order, and `on_terminate` has run.
    Closed,
    /// The room has crashed too often.
    GivenUp,
}

/// Internal step, from which an [`Output`] is made when it is due.
#[derive(Debug)]
enum Step {
    Announce(PeerId),
    /// Announces a message of the room's own to some members.
    AnnounceTo(RoomMessage),
    /// Delivers a message as it is.
    Tell(RoomMessage),
    Admit(PeerId),
    Joined(PeerId),
    Leave(PeerId),
    AnnounceLeft(PeerId),
    /// As `AnnounceLeft`, after a callback has panicked: no further callback is run.
    TellLeft(PeerId),
    Restarted,
    Reject(Member, JoinError),
}

/// What the actor of the room does next.
#[derive(Debug)]
pub(crate) enum Output {
    /// Passes this message of the room's own through `on_forward`, and delivers what comes out.
    Announce(RoomMessage),
    /// Delivers this message as it is.
    Deliver(RoomMessage),
    /// Calls `on_joined`.
    Joined(PeerId),
    /// Calls `on_leave`.
    Leave(PeerId),
    /// Sends this message to the client of the peer, and closes its connection.
    Close { member: Member, last: RoomMessage, frame: CloseFrame },
}

impl Roster {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns whether the room is closed for good.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed | Phase::GivenUp)
    }

    /// Returns whether no peer has a membership, and no departure is left to announce.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a peer that may join. `welcome` are additional fields of its `authenticated` message.
    ///
    /// # Errors
    /// [`JoinError::RoomUnavailable`] if the room is closed; [`JoinError::PeerIdTaken`] if a peer of this id is here,
    /// or its departure was not announced yet.
    pub(crate) fn reserve(
        &mut self,
        member: Member,
        welcome: Map<String, Value>,
    ) -> Result<(), JoinError> {
        if self.is_closed() {
            return Err(JoinError::RoomUnavailable);
        }
        if self.entries.get(member.peer_id()).is_some() {
            return Err(JoinError::PeerIdTaken);
        }
        self.entries.insert(Entry::reserved(member, welcome));
        Ok(())
    }

    /// Handles the end of a membership. If the peer was rejected, another may have its id by now, and stays.
    pub(crate) fn leave(&mut self, member: &Member) {
        let peer = member.peer_id();
        if self.entries.get(peer).is_some_and(|entry| entry.member.is_same(member)) {
            self.forget_brought(peer);
            self.end_membership(peer);
        }
    }

    fn end_membership(&mut self, peer: PeerId) {
        let Some(state) = self.entries.state(peer) else { return };
        match state {
            State::Reserved | State::Asking { known: false } => self.entries.remove(peer),
            State::Admitting { .. } => self.entries.set(peer, State::Admitting { gone: true }),
            State::Member => self.depart(peer, true),
            State::Stale | State::Asking { known: true } => self.depart(peer, false),
            State::Departed { .. } => {}
        }
    }

    fn depart(&mut self, peer: PeerId, admitted: bool) {
        self.entries.set(peer, State::Departed { admitted });
        self.departed.push(peer);
    }

    /// Handles a peer's request to join. Returns the peer that `on_join` is to be asked about; none if it is a member
    /// already.
    ///
    /// # Errors
    /// [`JoinError`]; the peer has no membership then.
    pub(crate) fn ask(
        &mut self,
        peer: PeerId,
        max_peers: Option<usize>,
    ) -> Result<Option<Member>, JoinError> {
        let is_full = max_peers.is_some_and(|max| self.entries.members() >= max);
        let entry = self.entries.get(peer).ok_or(JoinError::RoomUnavailable)?;
        let member = entry.member.clone();
        let state = entry.state();
        if state == State::Reserved && self.was_decided_and_told_left(peer) {
            self.entries.remove(peer);
            return Err(JoinError::PeerIdTaken);
        }
        let known = match state {
            State::Member => return Ok(None),
            State::Reserved | State::Asking { known: false } | State::Admitting { .. } => {
                if is_full {
                    self.entries.remove(peer);
                    return Err(JoinError::Rejected("room_is_full".into()));
                }
                false
            }
            State::Stale | State::Asking { known: true } => true,
            State::Departed { .. } => return Err(JoinError::RoomUnavailable),
        };
        self.entries.set(peer, State::Asking { known });
        Ok(Some(member))
    }

    /// Handles the room's decision on a peer.
    pub(crate) fn answered(
        &mut self,
        peer: PeerId,
        answer: Result<(), JoinError>,
    ) -> Result<(), JoinError> {
        let state = self.entries.state(peer);
        match (state, &answer) {
            // The peer left while it was being asked about: it joined and left, and no other peer saw it.
            (None, Ok(())) => self.steps.push_back(Step::Leave(peer)),
            (Some(State::Asking { known: false }), Ok(())) => {
                self.entries.set(peer, State::Admitting { gone: false });
                self.steps.extend([Step::Announce(peer), Step::Admit(peer)]);
            }
            (Some(State::Asking { known: false }), Err(_)) => self.entries.remove(peer),
            (Some(State::Asking { known: true } | State::Stale), Ok(())) => {
                self.entries.set(peer, State::Member);
            }
            (Some(State::Asking { known: true } | State::Stale), Err(error)) => {
                self.reject(peer, error.clone());
            }
            // It left while it was being readopted.
            (Some(State::Departed { .. }), Ok(())) => {
                self.entries.set(peer, State::Departed { admitted: true });
            }
            _ => {}
        }
        answer
    }

    /// Makes a peer a member that the room's home has admitted and welcomed.
    pub(crate) fn admitted_elsewhere(&mut self, peer: PeerId) {
        if self.entries.state(peer) == Some(State::Asking { known: false }) {
            self.entries.set(peer, State::Member);
            self.entries.welcomed(peer);
        }
    }

    /// Removes the peers whose departure the room's home announces.
    pub(crate) fn forget_departed(&mut self) {
        for peer in std::mem::take(&mut self.departed) {
            self.entries.remove(peer);
        }
    }

    /// Turns a peer away that has not joined. Returns whether it was one.
    pub(crate) fn turn_away(&mut self, peer: PeerId) -> bool {
        let joins = matches!(
            self.entries.state(peer),
            Some(State::Reserved | State::Asking { known: false })
        );
        if joins {
            self.entries.remove(peer);
        }
        joins
    }

    /// Turns a peer away that has not joined, though the room has just admitted it: for the room it leaves, and no
    /// other peer has seen it. Returns whether it was one.
    pub(crate) fn revoke(&mut self, peer: PeerId) -> bool {
        let turned_away = self.turn_away(peer);
        if turned_away {
            self.steps.push_back(Step::Leave(peer));
        }
        turned_away
    }

    /// Tells a peer that it is no member any more. If the others know of it, its departure is announced.
    fn reject(&mut self, peer: PeerId, error: JoinError) {
        let Some(entry) = self.entries.get(peer) else { return };
        self.steps.push_back(Step::Reject(entry.member.clone(), error));
        match entry.state() {
            State::Stale | State::Asking { known: true } => self.depart(peer, false),
            _ => self.entries.remove(peer),
        }
    }

    /// Announces the departures.
    pub(crate) fn announce_departures(&mut self) {
        for peer in self.take_departed() {
            let state = self.entries.state(peer);
            if state == Some(State::Departed { admitted: true }) {
                self.steps.push_back(Step::Leave(peer));
            }
            self.steps.push_back(Step::AnnounceLeft(peer));
        }
    }

    /// Returns what to do next; none if nothing is left to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        loop {
            let Some(step) = self.steps.pop_front() else {
                // Most rosters have nothing to do most of the time.
                (self.steps, self.current) = (VecDeque::new(), None);
                return None;
            };
            let output = self.output(&step);
            self.current = Some(step);
            if output.is_some() {
                return output;
            }
        }
    }

    fn output(&mut self, step: &Step) -> Option<Output> {
        match *step {
            Step::Announce(peer) => {
                let member = &self.entries.get(peer)?.member;
                let joined = RoomMessage::joined(peer, member.public());
                self.to_those_who_know(joined).map(Output::Announce)
            }
            Step::AnnounceTo(ref message) => Some(Output::Announce(message.clone())),
            Step::Tell(ref message) => Some(Output::Deliver(message.clone())),
            Step::Admit(peer) => self.admit(peer),
            Step::Joined(peer) => Some(Output::Joined(peer)),
            Step::Leave(peer) => Some(Output::Leave(peer)),
            Step::AnnounceLeft(peer) => {
                self.entries.remove(peer);
                self.to_those_who_know(RoomMessage::left(peer)).map(Output::Announce)
            }
            Step::TellLeft(peer) => {
                self.entries.remove(peer);
                self.to_those_who_know(RoomMessage::left(peer)).map(Output::Deliver)
            }
            Step::Restarted => {
                let peers: Vec<_> = self.members().map(Member::peer_id).collect();
                Some(Output::Deliver(RoomMessage::room_restarted(&peers)))
            }
            Step::Reject(ref member, ref error) => {
                let description = Description::CouldNotJoinRoom;
                let last = RoomMessage::error(member.peer_id(), description, &error.details());
                let (member, frame) = (member.clone(), CloseFrame::NORMAL);
                Some(Output::Close { member, last, frame })
            }
        }
    }

    /// Makes a peer a member, after the others were told. If the room has panicked before, the next instance rejects
    /// the peer.
    fn admit(&mut self, peer: PeerId) -> Option<Output> {
        match self.entries.state(peer)? {
            State::Admitting { gone: false } => {}
            State::Admitting { gone: true } => {
                self.depart(peer, true);
                self.announce_departures();
                return None;
            }
            _ => return None,
        }
        let welcome = self.entries.get(peer)?.welcome.as_deref();
        let authenticated = RoomMessage::authenticated(peer, self.announced(), welcome);
        self.entries.set(peer, State::Member);
        self.entries.welcomed(peer);
        self.steps.push_front(Step::Joined(peer));
        Some(Output::Deliver(authenticated))
    }

    /// Handles a panic in a callback: departures are still announced, without any callback; all else is left to the
    /// next instance.
    pub(crate) fn panicked(&mut self) {
        let steps = self.current.take().into_iter().chain(std::mem::take(&mut self.steps));
        self.steps = steps
            .filter_map(|step| match step {
                Step::AnnounceLeft(peer) => Some(Step::TellLeft(peer)),
                Step::AnnounceTo(message) => Some(Step::Tell(message)),
                Step::TellLeft(_) | Step::Tell(_) | Step::Restarted | Step::Reject(..) => {
                    Some(step)
                }
                Step::Announce(_) | Step::Admit(_) | Step::Joined(_) | Step::Leave(_) => None,
            })
            .collect();
    }

    /// Handles the end of an instance that has crashed: the next one has no members before it has readopted them.
    pub(crate) fn crashed(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Restarting;
        }
        (self.is_frozen, self.moving) = Default::default();
        let members: Vec<_> = self.members().map(Member::peer_id).collect();
        members.into_iter().for_each(|peer| self.entries.set(peer, State::Stale));
    }

    /// Handles the start of an instance; returns whether it follows one that has crashed.
    pub(crate) fn started(&mut self) -> bool {
        let is_first = self.phase == Phase::Opening;
        self.phase = match self.phase {
            Phase::Opening => Phase::Open,
            Phase::Open | Phase::Restarting => Phase::Restarting,
            closed => closed,
        };
        !is_first
    }

    /// Begins to readopt the members after a crash: rejects a peer that the room was about to admit, as the cause, and
    /// returns the peers to be readopted. They are [asked](Self::ask) about, or [answered](Self::answered) at once.
    pub(crate) fn readopt(&mut self) -> Vec<Member> {
        let (mut suspects, mut stale) = (Vec::new(), Vec::new());
        (self.steps, self.current) = Default::default();
        self.departed.clear();
        let states: Vec<_> =
            self.entries.iter().map(|entry| (entry.member.clone(), entry.state())).collect();
        for (member, state) in states {
            let peer = member.peer_id();
            match state {
                State::Reserved => {}
                State::Asking { .. } | State::Admitting { gone: false } => suspects.push(peer),
                State::Admitting { gone: true } => self.entries.remove(peer),
                State::Member | State::Stale => {
                    self.entries.set(peer, State::Stale);
                    stale.push(member);
                }
                State::Departed { .. } => self.depart(peer, false),
            }
        }
        for peer in suspects {
            self.reject(peer, JoinError::RoomCrashed);
        }
        stale
    }

    /// Ends the readoption: the members are told who they are, and which peers are gone.
    pub(crate) fn readopted(&mut self) {
        if self.phase == Phase::Restarting {
            self.phase = Phase::Open;
        }
        self.is_frozen = false;
        if !self.reconcile(true) {
            self.steps.push_back(Step::Restarted);
        }
        self.announce_departures();
    }

    /// Removes all peers, after a crash that the room does not bring them through; returns those to be told.
    pub(crate) fn dismiss(&mut self) -> Vec<Member> {
        if self.phase == Phase::Restarting {
            self.phase = Phase::Open;
        }
        self.clear()
    }

    /// Closes the room in good order, unless it is closed; returns the peers to be told.
    pub(crate) fn close(&mut self) -> Vec<Member> {
        self.end(Phase::Closing)
    }

    /// Closes a room that nothing runs of any more, unless it is closed; returns the peers to be told.
    pub(crate) fn give_up(&mut self) -> Vec<Member> {
        self.end(Phase::GivenUp)
    }

    fn end(&mut self, phase: Phase) -> Vec<Member> {
        if !self.is_closed() {
            self.phase = phase;
        }
        self.clear()
    }

    fn clear(&mut self) -> Vec<Member> {
        (self.steps, self.current) = Default::default();
        self.departed.clear();
        let entries = self.entries.clear();
        entries
            .filter(|entry| !matches!(entry.state(), State::Departed { .. }))
            .map(|entry| entry.member)
            .collect()
    }

    /// Closes the room if no peer has a membership and no departure is left to announce; returns whether it is closed.
    pub(crate) fn close_if_empty(&mut self) -> bool {
        if self.entries.is_empty() && !self.is_closed() {
            self.phase = Phase::Closing;
        }
        self.is_closed()
    }

    /// Returns whether `on_terminate` is due: once for a room that is closed in good order.
    pub(crate) fn terminate(&mut self) -> bool {
        let is_due = self.phase == Phase::Closing;
        if is_due {
            self.phase = Phase::Closed;
        }
        is_due
    }

    /// Resets the roster when the room starts in its tree, for the first time or once more after its end there.
    pub(crate) fn reopen(&mut self) {
        self.phase = if self.entries.is_empty() { Phase::Opening } else { Phase::Restarting };
    }
}

#[cfg(test)]
mod tests;
