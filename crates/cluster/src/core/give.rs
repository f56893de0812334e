//! Rooms that a node gives to another one, which expects them.
//!
//! The compare-and-swap of the node that gives a room is the moment at which it changes hands. From before that until
//! its outcome is known, the node holds the room no more, though it may get it back. The node that expects the room has
//! it once it knows of the claim: from the directory, or by the word of the node that has written it.

use std::mem::take;
use std::sync::Arc;

use super::room::{Attempt, Expecting, Giving, Held, Room, Step, Ticket};
use super::{Core, Output, Refused, RefusedToGive};
use crate::boot_time::{BootTime, Now};
use crate::directory::DirectoryError;
use crate::node_id::NodeId;
use crate::record::{Claim, Epoch, Given, Revision, SessionState};

impl Core {
    /// Gives a room that this node holds to another one. It is answered when it is known whether that has it.
    pub(crate) fn handle_give(&mut self, now: Now, name: &Arc<str>, ticket: Ticket, to: &NodeId) {
        self.look_at_deadline(now);
        match self.claim_for(now, name, to) {
            Ok(claim) => {
                if let Some(room) = self.rooms.get_mut(name) {
                    room.giving = Some(Box::new(Giving { ticket, claim }));
                    self.active.insert(Arc::clone(name));
                }
            }
            Err(refused) => self.outputs.push_back(Output::Given(ticket, Err(refused))),
        }
        self.handle_timeout(now);
    }

    /// Returns the claim with which another node gets a room.
    fn claim_for(&self, now: Now, name: &str, to: &NodeId) -> Result<Claim, RefusedToGive> {
        let room = self.rooms.get(name);
        let held = room.and_then(|room| room.held.as_ref()).filter(|_| self.stands(now.boot));
        let (Some(room), Some(held)) = (room, held) else { return Err(RefusedToGive::NotHeld) };
        let is_free = held.confirmed && room.call.is_none() && room.giving.is_none();
        if !is_free || !self.view.whole {
            return Err(RefusedToGive::Unavailable);
        }
        let other = self.others.get(to).filter(|_| *to != self.me.node);
        let record = other.and_then(|other| {
            let (session, _) = other.record.as_ref()?;
            let silence = now.boot.since(other.since);
            let takes = session.state == SessionState::Up;
            (takes && silence < self.timing.doubt_of(session.hold)).then_some(session)
        });
        let session = record.ok_or(RefusedToGive::NoSuchNode)?;
        Ok(Claim::held(to.clone(), session.incarnation, held.epoch.next(now.unix_ms)))
    }

    /// Returns what to do next for a room that this node holds and gives away.
    pub(super) fn decide_giving(
        &self,
        now: BootTime,
        room: &Room,
        held: &Held,
        giving: &Giving,
        must_wait: bool,
    ) -> Step {
        let own = Claim::held(self.me.node.clone(), self.own.incarnation, held.epoch);
        match &room.seen {
            Some((claim, at)) if *claim == giving.claim => Step::Gave(claim.epoch, *at),
            // Whether it was given or not, another node has it since.
            Some((claim, _)) if claim.epoch >= held.epoch && *claim != own => Step::Yield,
            _ if must_wait || !self.stands(now) || !self.view.whole => Step::Rest,
            _ => Step::Give(giving.claim.clone()),
        }
    }

    /// Writes the claim of the other node. The same claim as often as it takes: it is written once.
    pub(super) fn give(&mut self, name: &Arc<str>, claim: Claim) {
        let was = self.rooms.get(name).and_then(|room| room.revision());
        self.call_for(name, Attempt::Give(claim.clone(), was), claim, was);
    }

    pub(super) fn handle_give_outcome(
        &mut self,
        now: Now,
        name: &Arc<str>,
        (claim, was): (Claim, Option<Revision>),
        outcome: &Result<Revision, DirectoryError>,
    ) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        match outcome {
            &Ok(revision) => {
                let epoch = claim.epoch;
                if room.revision().is_none_or(|seen| seen < revision) {
                    room.seen = Some((claim, revision));
                    (room.since, room.stale) = (now.boot, None);
                }
                self.gave(name, epoch, revision);
            }
            Err(DirectoryError::Conflict) => room.stale = Some(was),
            Err(DirectoryError::Unknown(_)) => {
                room.not_before = now.boot + self.timing.renewal / 3;
            }
        }
    }

    /// Handles that the other node has the room.
    pub(super) fn gave(&mut self, name: &Arc<str>, epoch: Epoch, at: Revision) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(giving) = room.giving.take() else { return };
        let Giving { ticket, claim } = *giving;
        room.held = None;
        let holder = claim.holder.filter(|_| claim.epoch == epoch);
        let given = holder.map(|it| Given { epoch, revision: at.0, incarnation: it.incarnation });
        let given = given.ok_or(RefusedToGive::NotHeld);
        self.outputs.push_back(Output::Given(ticket, given));
    }

    /// Ends what is under way with a room whose hold is over: another node has it or may have it.
    pub(super) fn lose_given(&mut self, name: &str) {
        let giving = self.rooms.get_mut(name).and_then(|room| room.giving.take());
        if let Some(giving) = giving {
            let refused = Err(RefusedToGive::NotHeld);
            self.outputs.push_back(Output::Given(giving.ticket, refused));
        }
    }

    /// Handles that another node is about to give a room to this one, which it has by the hold of this number. It is
    /// answered when this node has it.
    pub(crate) fn handle_expect(&mut self, now: Now, name: &Arc<str>, ticket: Ticket, from: Epoch) {
        let room = self.rooms.entry(Arc::clone(name)).or_default();
        // It is too late for one that was given already, and perhaps given back.
        let is_late = room.seen.as_ref().is_some_and(|(claim, _)| claim.epoch > from);
        if is_late || self.own.draining || !self.own.entered {
            let refused = Refused::Unavailable(self.timing.renewal);
            self.outputs.push_back(Output::Answer(ticket, Err(refused)));
        } else {
            room.expecting.push(Expecting { ticket, from });
        }
        self.active.insert(Arc::clone(name));
        self.handle_timeout(now);
    }

    /// Handles that a room is not expected any more.
    pub(crate) fn handle_expect_no_more(&mut self, now: Now, name: &Arc<str>, ticket: Ticket) {
        if let Some(room) = self.rooms.get_mut(name) {
            let ended = room.expecting.extract_if(.., |expecting| expecting.ticket == ticket);
            let refused = Refused::Unavailable(self.timing.renewal);
            let answers = ended.map(|it| Output::Answer(it.ticket, Err(refused.clone())));
            self.outputs.extend(answers);
            self.active.insert(Arc::clone(name));
        }
        self.handle_timeout(now);
    }

    /// Handles the word of a node that it has given a room to this one. It counts while the room is expected: this node
    /// has then not given back what it was given.
    pub(crate) fn handle_given(&mut self, now: Now, name: &Arc<str>, given: Given) {
        let Given { epoch, revision, incarnation } = given;
        let at = Revision(revision);
        let claim = Claim::held(self.me.node.clone(), incarnation, epoch);
        let is_expected = self.rooms.get(name).is_some_and(|room| room.expects(epoch));
        if is_expected && incarnation == self.own.incarnation {
            self.wrote(now, at);
            self.see_claim(now, name, Some((claim, at)), at);
        }
        self.handle_timeout(now);
    }

    /// Takes a room that was given to this node.
    pub(super) fn take_given(&mut self, name: &str, epoch: Epoch) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let expecting = take(&mut room.expecting);
        room.after = expecting.iter().map(|expecting| expecting.from).max();
        room.held = Some(Held { epoch, confirmed: true });
        room.begins_to_hold();
        room.is_given = true;
        let granted = room.granted(epoch);
        for Expecting { ticket, .. } in expecting {
            self.outputs.push_back(Output::Answer(ticket, Ok(granted)));
        }
    }

    /// Ends all that is expected and being given: the session is over.
    pub(super) fn lapse_given(&mut self) {
        let refused = Refused::Unavailable(self.timing.renewal);
        for room in self.rooms.values_mut() {
            if let Some(giving) = room.giving.take() {
                let refused = Err(RefusedToGive::NotHeld);
                self.outputs.push_back(Output::Given(giving.ticket, refused));
            }
            for Expecting { ticket, .. } in take(&mut room.expecting) {
                self.outputs.push_back(Output::Answer(ticket, Err(refused.clone())));
            }
        }
    }
}
