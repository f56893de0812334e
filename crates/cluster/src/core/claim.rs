//! Claims of rooms: which this node holds, wants, and gives back.

use std::mem::take;
use std::sync::Arc;

use super::others::Verdict;
use super::room::{Attempt, Held, Room, Step, Ticket};
use super::{Call, CallId, Core, Granted, Outcome, Output, Refused};
use crate::boot_time::{BootTime, Now};
use crate::directory::{DirectoryError, Key};
use crate::node_id::NodeId;

use crate::record::{Claim, Epoch, Holder, Revision};

impl Core {
    /// Handles a request for a room: it is answered in time, for the whole of this node.
    pub(crate) fn handle_claim(&mut self, now: Now, room: &Arc<str>, ticket: Ticket) {
        let until = now.boot + self.timing.patience;
        self.rooms.entry(Arc::clone(room)).or_default().waiting.push((ticket, until));
        self.active.insert(Arc::clone(room));
        self.handle_timeout(now);
    }

    /// Returns which node has claimed a room after this epoch, and by which, as far as is known.
    pub(crate) fn claimed_after(&self, room: &str, epoch: Epoch) -> Option<(NodeId, Epoch)> {
        let (claim, _) = self.rooms.get(room)?.seen.as_ref()?;
        let holder = claim.holder.as_ref().filter(|_| claim.epoch > epoch)?;
        Some((holder.node.clone(), claim.epoch))
    }

    /// Handles that a room is not run here any more.
    pub(crate) fn handle_release(&mut self, now: Now, room: &Arc<str>) {
        if let Some(known) = self.rooms.get_mut(room)
            && known.held.take().is_some()
        {
            self.active.insert(Arc::clone(room));
            self.lose_given(room);
        }
        self.handle_timeout(now);
    }

    /// Returns whether this node holds a room whose claim the directory does not have.
    pub(super) fn unconfirmed(&self) -> bool {
        self.active
            .iter()
            .any(|room| self.rooms.get(room).is_some_and(|room| room.is_unconfirmed()))
    }

    /// Ends all holds, and with them the requests.
    pub(super) fn lapse_rooms(&mut self) {
        self.lapse_given();
        for room in self.rooms.values_mut() {
            room.held = None;
            (room.tried, room.first) = (None, None);
            let refused = Refused::Unavailable(self.timing.renewal);
            for (ticket, _) in take(&mut room.waiting) {
                self.outputs.push_back(Output::Answer(ticket, Err(refused.clone())));
            }
        }
    }

    /// Forgets at which revisions the directory had claims. Holds go on, and are written again.
    pub(super) fn forget_rooms(&mut self) {
        self.room_calls.clear();
        for (name, room) in &mut self.rooms {
            (room.seen, room.stale, room.call, room.tried) = (None, None, None, None);
            room.tries.clear();
            room.not_before = BootTime::ZERO;
            if let Some(held) = &mut room.held {
                held.confirmed = false;
                self.active.insert(Arc::clone(name));
            }
        }
    }

    /// Sees the claim of a room at this revision; none if there is none any more.
    pub(super) fn see_claim(
        &mut self,
        now: Now,
        name: &Arc<str>,
        claim: Option<(Claim, Revision)>,
        at: Revision,
    ) {
        if let Some(holder) = claim.as_ref().and_then(|(claim, _)| claim.holder.as_ref()) {
            self.see_holder(now, holder);
        }
        let (node, incarnation) = (self.me.node.clone(), self.own.incarnation);
        let room = self.rooms.entry(Arc::clone(name)).or_default();
        let news = room.revision().is_none_or(|seen| seen < at);
        if news {
            (room.seen, room.since, room.stale) = (claim, now.boot, None);
            let process = incarnation.process;
            let mine = |it: &Holder| it.node == node && it.incarnation.process == process;
            if let Some((claim, _)) = &room.seen
                && claim.holder.as_ref().is_some_and(mine)
                && let Some(tried) = room.tries.iter_mut().find(|it| it.epoch == claim.epoch)
            {
                tried.seen = true;
            }
            let claim = room.seen.as_ref().map(|(claim, _)| claim);
            if let Some(held) = &mut room.held {
                let mine = Claim::held(node, incarnation, held.epoch);
                held.confirmed = claim == Some(&mine);
                if !held.confirmed {
                    self.active.insert(Arc::clone(name));
                }
            }
        }
        let room = &self.rooms[name];
        if room.is_left_over(&self.me.node, self.own.incarnation) {
            self.active.insert(Arc::clone(name));
        }
        if room.is_empty() {
            self.rooms.remove(name);
        }
    }

    /// Does for each room what is to be done.
    pub(super) fn tend_rooms(&mut self, now: Now) {
        for name in self.active.iter().cloned().collect::<Vec<_>>() {
            while let Some(step) = self.next_step(now, &name) {
                self.take_step(&name, step);
            }
            let room = self.rooms.get(&name);
            let left_over = |room: &Room| room.is_left_over(&self.me.node, self.own.incarnation);
            if !room.is_some_and(|room| room.is_active() || left_over(room)) {
                self.active.remove(&name);
            }
            if room.is_some_and(|room| room.is_empty()) {
                self.rooms.remove(&name);
            }
        }
    }

    /// Returns what to do next for a room; nothing if it must wait.
    fn next_step(&mut self, now: Now, name: &Arc<str>) -> Option<Step> {
        self.refuse_late(now, name);
        let step = self.decide(now, self.rooms.get(name)?);
        if let Step::Rest = step { None } else { Some(step) }
    }

    /// Refuses the requests that have waited too long.
    fn refuse_late(&mut self, now: Now, name: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if room.not_before <= now.boot {
            room.not_before = BootTime::ZERO;
        }
        for (ticket, _) in room.waiting.extract_if(.., |(_, until)| *until <= now.boot) {
            let refused = Refused::Unavailable(self.timing.renewal);
            self.outputs.push_back(Output::Answer(ticket, Err(refused)));
        }
    }

    fn decide(&self, now: Now, room: &Room) -> Step {
        let stands = self.stands(now.boot);
        // Something newer than what was seen is known to be there, or a call is under way.
        let must_wait = room.call.is_some()
            || room.stale.is_some_and(|stale| stale == room.revision())
            || now.boot < room.not_before;
        if let (Some(held), Some(giving)) = (&room.held, &room.giving) {
            return self.decide_giving(now.boot, room, held, giving, must_wait);
        }
        if let Some(held) = &room.held {
            return match &room.seen {
                _ if held.confirmed && !room.waiting.is_empty() => {
                    Step::Answer(Ok(room.granted(held.epoch)))
                }
                _ if held.confirmed => Step::Rest,
                // Another node has it since the directory forgot this one's claim.
                Some((claim, _)) if claim.epoch >= held.epoch => Step::Yield,
                _ if must_wait || !stands || !self.view.whole => Step::Rest,
                _ => Step::Hold(held.epoch),
            };
        }
        if let Some((claim, _)) = &room.seen
            && room.expects(claim.epoch)
            && room.is_left_over(&self.me.node, self.own.incarnation)
        {
            let may_take = room.call.is_none() && stands;
            return if may_take { Step::Take(claim.epoch) } else { Step::Rest };
        }
        let unavailable = |time| Step::Answer(Err(Refused::Unavailable(time)));
        if room.waiting.is_empty() {
            let left_over = room.is_left_over(&self.me.node, self.own.incarnation);
            return match &room.seen {
                Some((claim, at)) if left_over && !must_wait && stands => {
                    Step::Release(claim.epoch, *at)
                }
                _ => Step::Rest,
            };
        }
        let epoch = room.seen.as_ref().map_or(Epoch::default(), |(claim, _)| claim.epoch);
        let verdict = room.seen.as_ref().map_or(Verdict::Dead, |(claim, at)| {
            claim.holder.as_ref().map_or(Verdict::Dead, |holder| self.verdict(now, holder, *at))
        });
        let ours = room
            .tried
            .as_ref()
            .is_some_and(|tried| room.seen.as_ref().is_some_and(|(claim, _)| *claim == **tried));
        match verdict {
            Verdict::Alive { node, url } => {
                Step::Answer(Err(Refused::Elsewhere { node, url, epoch }))
            }
            // The node has just been started.
            _ if !self.own.entered => Step::Rest,
            _ if !stands || !self.view.whole => unavailable(self.timing.renewal),
            _ if now.boot < self.view.healing_until => {
                unavailable(self.view.healing_until.since(now.boot))
            }
            Verdict::Doubtful => unavailable(self.timing.renewal),
            // A try whose outcome was not known.
            Verdict::Mine if ours && room.call.is_none() => Step::Answer(Ok(room.granted(epoch))),
            _ if must_wait => Step::Rest,
            // What it had when its session ended it takes again, to move it.
            _ if self.own.draining && !self.had_last(room) => unavailable(self.timing.renewal),
            _ if room.seen.is_none() && self.rooms.len() > MOST_ROOMS => {
                unavailable(self.timing.renewal)
            }
            Verdict::Mine | Verdict::Dead => match &room.tried {
                Some(tried) if tried.epoch > epoch => Step::Hold(tried.epoch),
                _ => Step::Hold(epoch.next(now.unix_ms)),
            },
        }
    }

    /// Returns whether a session of this process had a room last, and did not give it back.
    fn had_last(&self, room: &Room) -> bool {
        let process = self.own.incarnation.process;
        room.holder().is_some_and(|it| it.node == self.me.node && it.incarnation.process == process)
    }

    fn take_step(&mut self, name: &Arc<str>, step: Step) {
        let (node, incarnation) = (self.me.node.clone(), self.own.incarnation);
        let Some(room) = self.rooms.get_mut(name) else { return };
        match step {
            Step::Rest => {}
            Step::Answer(answer) => {
                if let Ok(Granted { epoch, .. }) = answer {
                    room.held.get_or_insert(Held { epoch, confirmed: true });
                    room.begins_to_hold();
                }
                for (ticket, _) in take(&mut room.waiting) {
                    self.outputs.push_back(Output::Answer(ticket, answer.clone()));
                }
            }
            Step::Yield => {
                room.held = None;
                self.lose_given(name);
                self.outputs.push_back(Output::Yielded(Arc::clone(name)));
            }
            Step::Give(claim) => self.give(name, claim),
            Step::Gave(epoch, at) => self.gave(name, epoch, at),
            Step::Take(epoch) => self.take_given(name, epoch),
            Step::Hold(epoch) => {
                if room.held.is_none() {
                    room.is_given = false;
                    room.after = room.granted_last(&node, incarnation.process);
                    room.has_tried(epoch, room.after);
                }
                let (claim, was) = (Claim::held(node, incarnation, epoch), room.revision());
                if was.is_none() && room.held.is_none() {
                    room.first = Some(epoch);
                }
                self.call_for(name, Attempt::Hold(claim.clone(), was), claim, was);
            }
            Step::Release(epoch, was) => {
                // What was tried before is given up with it.
                (room.tried, room.after) = (None, None);
                let claim = Claim::released(epoch);
                self.call_for(name, Attempt::Release(claim.clone(), was), claim, Some(was));
            }
        }
    }

    pub(super) fn call_for(
        &mut self,
        name: &Arc<str>,
        attempt: Attempt,
        claim: Claim,
        was: Option<Revision>,
    ) {
        let id = self.call(Call::Claim(Arc::clone(name), claim, was));
        self.under_way(name, id, attempt);
    }

    fn under_way(&mut self, name: &Arc<str>, id: CallId, attempt: Attempt) {
        self.room_calls.insert(id, Arc::clone(name));
        if let Some(room) = self.rooms.get_mut(name) {
            room.call = Some(Box::new((id, attempt)));
            room.not_before = BootTime::ZERO;
        }
    }

    /// Removes the record of a room, which is of no use any more.
    pub(super) fn forget_room(&mut self, name: &Arc<str>, was: Revision) {
        let id = self.call(Call::Forget(Key::Room(Arc::clone(name)), was));
        self.under_way(name, id, Attempt::Forget(was));
    }

    /// Returns whether a record of a room can be removed: nothing else is being done for it.
    pub(super) fn is_idle(room: &Room) -> bool {
        room.held.is_none() && room.call.is_none() && !room.is_active()
    }

    pub(super) fn handle_claim_outcome(&mut self, now: Now, name: &Arc<str>, outcome: Outcome) {
        let (stands, incarnation) = (self.stands(now.boot), self.own.incarnation);
        if let &Ok(revision) = &outcome {
            self.wrote(now, revision);
        }
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some((_, attempt)) = room.call.take().map(|call| *call) else { return };
        let newer = |seen: Option<Revision>, revision| seen.is_none_or(|seen| seen < revision);
        // No epoch of the room was ever given out: its record need not be remembered.
        let mut never_held = false;
        match (attempt, &outcome) {
            (Attempt::Hold(claim, _), &Ok(revision)) => {
                if newer(room.revision(), revision) {
                    room.seen = Some((claim.clone(), revision));
                    (room.since, room.stale) = (now.boot, None);
                }
                if let Some(tried) = room.tries.iter_mut().find(|it| it.epoch == claim.epoch) {
                    tried.seen = true;
                }
                let mine = claim.holder.as_ref().is_some_and(|h| h.incarnation == incarnation);
                if !(mine && stands) {
                    // Of a session that is over.
                } else if let Some(held) = &mut room.held {
                    held.confirmed |= held.epoch == claim.epoch;
                } else if !room.waiting.is_empty() {
                    room.held = Some(Held { epoch: claim.epoch, confirmed: true });
                    room.begins_to_hold();
                }
            }
            (Attempt::Release(claim, _), &Ok(revision)) => {
                never_held = room.first == Some(claim.epoch) && room.waiting.is_empty();
                if newer(room.revision(), revision) {
                    room.seen = Some((claim, revision));
                    room.since = now.boot;
                }
            }
            // What is newer than the record that was removed stays.
            (Attempt::Forget(was), Ok(_)) if room.revision() == Some(was) => room.seen = None,
            (Attempt::Release(_, was), Err(DirectoryError::Conflict)) => {
                room.stale = Some(Some(was));
            }
            (Attempt::Hold(_, was), Err(DirectoryError::Conflict)) => room.stale = Some(was),
            (Attempt::Hold(claim, _), Err(DirectoryError::Unknown(_))) => {
                room.tried = Some(Box::new(claim));
                room.not_before = now.boot + self.timing.renewal / 3;
            }
            (Attempt::Release(..), Err(DirectoryError::Unknown(_))) => {
                room.not_before = now.boot + self.timing.renewal / 3;
            }
            (Attempt::Give(claim, was), outcome) => {
                self.handle_give_outcome(now, name, (claim, was), outcome);
                self.active.insert(Arc::clone(name));
                return;
            }
            (Attempt::Forget(_), _) => {}
        }
        if let Ok(revision) = outcome
            && never_held
            && room.revision() == Some(revision)
        {
            room.first = None;
            self.forget_room(name, revision);
        }
        // What has no more to do is forgotten when the rooms are tended.
        self.active.insert(Arc::clone(name));
    }
}

/// Number of rooms beyond which none that has no record is claimed, until records are removed.
pub(super) const MOST_ROOMS: usize = 262_144;
