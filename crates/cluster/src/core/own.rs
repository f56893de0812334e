//! Own session: entering, renewing, lapsing.

use uuid::Uuid;

use super::{Call, CallId, Core, Outcome, Output};
use crate::boot_time::{BootTime, Now};
use crate::directory::DirectoryError;
use crate::node_id::Incarnation;
use crate::record::{Revision, Session, SessionState};

/// Own session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// Run that the session is, or will be once it is entered.
    pub(super) incarnation: Incarnation,
    /// Number of the last renewal that was tried.
    n: u64,
    /// Time until which the session holds; none before it is entered, and after it has lapsed.
    pub(super) deadline: Option<BootTime>,
    /// Revision at which the session's record is, as far as is known; none if it must be entered.
    revision: Option<Revision>,
    /// Record under this node's name that was seen last.
    seen: Option<(Session, Revision)>,
    pub(super) call: Option<OwnCall>,
    /// Time of the next try.
    pub(super) next: BootTime,
    /// Time when the last renewal was sent that was written, and has not extended the session yet.
    sent: Option<BootTime>,
    /// Revision that the stream of changes must come to, because this node has written it or has met it in a conflict,
    /// and since when.
    pub(super) unseen: Option<(Revision, BootTime)>,
    leaving: Leaving,
    /// It says that the node takes no more rooms.
    pub(super) draining: bool,
    /// It has held before.
    pub(super) entered: bool,
}

/// How far a node is with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leaving {
    No,
    /// Its session, of this run, must still be sealed.
    Saying(Incarnation),
    /// Its session is sealed, or will be by others.
    Left,
}

/// Call for the own session that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnCall {
    pub(super) id: CallId,
    sent: BootTime,
    session: Session,
    /// What the record's revision must be for it.
    was: Option<Revision>,
}

impl Own {
    pub(super) fn new(process: Uuid, term: u64) -> Self {
        Self {
            incarnation: Incarnation::new(process, term),
            n: 0,
            deadline: None,
            revision: None,
            seen: None,
            call: None,
            next: BootTime::ZERO,
            sent: None,
            unseen: None,
            leaving: Leaving::No,
            draining: false,
            entered: false,
        }
    }

    /// Forgets at which revisions the directory had something. The session goes on, and is entered again. What a call
    /// that is under way has done, or will have done, is seen in the directory.
    pub(super) fn forget(&mut self) {
        (self.revision, self.seen, self.call) = (None, None, None);
        (self.sent, self.unseen, self.next) = (None, None, BootTime::ZERO);
    }
}

impl Core {
    /// Leaves the cluster: every hold ends, and the session is sealed, so that others may take the rooms at once.
    pub(crate) fn handle_leave(&mut self, now: Now) {
        if self.own.leaving == Leaving::No {
            self.own.leaving = Leaving::Saying(self.own.incarnation);
            self.lapse();
        }
        self.handle_timeout(now);
    }

    /// Says from now on that this node takes no more rooms.
    pub(crate) fn handle_drain(&mut self, now: Now) {
        if !self.own.draining {
            self.own.draining = true;
            self.own.next = self.own.next.min(now.boot);
        }
        self.handle_timeout(now);
    }

    /// Handles that the process does not listen any more at the address that its session says: others may find it gone.
    /// The session is over at once; the next one says no address.
    pub(crate) fn handle_unreachable(&mut self, now: Now) {
        if self.me.liveness.take().is_some() && self.own.leaving == Leaving::No {
            self.lapse();
        }
        self.handle_timeout(now);
    }

    /// Says that this process lives, which another node takes for gone.
    pub(super) fn object(&mut self, now: Now) {
        if self.own.leaving == Leaving::No {
            self.renew_at_once(now);
        }
    }

    /// Renews the session as soon as no call for it is under way.
    pub(super) fn renew_at_once(&mut self, now: Now) {
        self.own.next = self.own.next.min(now.boot);
    }

    /// Returns the state of a session that is not over.
    fn live_state(&self) -> SessionState {
        if self.own.draining { SessionState::Draining } else { SessionState::Up }
    }

    /// Returns when to renew the session next.
    pub(super) fn renewal_due(&self) -> Option<BootTime> {
        let idle = self.own.call.is_none() && self.own.leaving == Leaving::No;
        // Before it enters, it must see who is there.
        let may = self.own.revision.is_some() || self.view.whole;
        (idle && may).then_some(self.own.next)
    }

    /// Returns whether the node has left, as far as it can.
    pub(crate) fn has_left(&self) -> bool {
        self.own.leaving == Leaving::Left && self.own.call.is_none()
    }

    /// Ends the session if its time is over.
    pub(super) fn look_at_deadline(&mut self, now: Now) {
        if self.own.deadline.is_some_and(|deadline| deadline <= now.boot) {
            self.lapse();
        }
    }

    pub(super) fn tend_own(&mut self, now: Now) {
        self.look_at_deadline(now);
        self.extend(now);
        self.look_for_own_renewals(now);
        self.look_for_whole(now);
        if self.own.call.is_some() {
            return;
        }
        if let Leaving::Saying(incarnation) = self.own.leaving {
            self.say_goodbye(now, incarnation);
        }
        if self.own.leaving != Leaving::No || now.boot < self.own.next {
            return;
        }
        match self.own.revision {
            Some(revision) => {
                let session = self.next_session(self.own.incarnation, self.live_state());
                let renew = |session, _| Call::Renew(session, revision);
                self.send_own(now, session, Some(revision), renew);
            }
            None if self.view.whole => self.enter(now),
            None => {}
        }
    }

    /// Seals the own session, if its record is known.
    fn say_goodbye(&mut self, now: Now, incarnation: Incarnation) {
        self.own.leaving = Leaving::Left;
        let Some((seen, revision)) = &self.own.seen else { return };
        if seen.incarnation == incarnation && seen.state.runs() {
            let was = Some(*revision);
            let session = self.next_session(incarnation, SessionState::Sealed);
            self.send_own(now, session, was, Call::Seal);
        }
    }

    /// Returns when the stream of changes hangs if it does not say until then what there is. Each that hangs gives the
    /// next one more time, for a directory that is slow.
    pub(super) fn hangs_at(&self) -> Option<BootTime> {
        let patience = 2 * self.timing.renewal * 2_u32.pow(self.view.hung.min(MOST_DOUBLINGS));
        self.view.asked.map(|asked| asked + patience)
    }

    /// Asks for another stream of changes if the present one hangs.
    fn look_for_whole(&mut self, now: Now) {
        if self.hangs_at().is_some_and(|end| end <= now.boot) {
            self.view.asked = None;
            self.view.hung += 1;
            self.outputs.push_back(Output::Refresh);
        }
    }

    /// Asks for another stream of changes if the present one does not say what this node itself has written or met.
    fn look_for_own_renewals(&mut self, now: Now) {
        let late = |(_, at): (Revision, BootTime)| now.boot.since(at) >= 2 * self.timing.renewal;
        if self.view.whole && self.own.unseen.is_some_and(late) {
            self.view.whole = false;
            self.own.unseen = None;
            self.outputs.push_back(Output::Refresh);
        }
    }

    /// Enters the session, unless another process of this name may live.
    fn enter(&mut self, now: Now) {
        let (process, seen) = (self.own.incarnation.process, self.own.seen.as_ref());
        let free = seen.is_none_or(|(seen, _)| {
            let sealed = seen.state == SessionState::Sealed;
            sealed || seen.incarnation.process == process || self.me.unique
        });
        // Once sealed, a session is over for good: the next one is another.
        let over = seen.is_some_and(|(seen, _)| {
            seen.incarnation == self.own.incarnation && seen.state == SessionState::Sealed
        });
        let was = seen.map(|(_, revision)| *revision);
        if over {
            self.lapse();
        }
        if free {
            let session = self.next_session(self.own.incarnation, self.live_state());
            self.send_own(now, session, was, Call::Enter);
        } else {
            self.own.next = now.boot + self.timing.renewal;
        }
    }

    fn next_session(&mut self, incarnation: Incarnation, state: SessionState) -> Session {
        self.own.n += 1;
        let (node, url, zone) = (self.me.node.clone(), self.me.url.clone(), self.me.zone.clone());
        let (n, hold, liveness) = (self.own.n, self.timing.hold, self.me.liveness);
        let gone = self.found_gone();
        Session { node, incarnation, n, state, hold, url, zone, liveness, gone }
    }

    fn send_own(
        &mut self,
        now: Now,
        session: Session,
        was: Option<Revision>,
        call: impl FnOnce(Session, Option<Revision>) -> Call,
    ) {
        let id = self.call(call(session.clone(), was));
        self.own.call = Some(OwnCall { id, sent: now.boot, session, was });
        self.own.next = now.boot + self.timing.renewal;
    }

    pub(super) fn handle_own_outcome(&mut self, now: Now, outcome: Outcome) {
        let Some(call) = self.own.call.take() else { return };
        match outcome {
            Ok(revision) => self.own_written(now, call, revision),
            // Perhaps by a try of this node itself whose outcome is not known: the record says it once it is seen.
            Err(DirectoryError::Conflict) => {
                self.met_news(now);
                self.compare_own(now, call.was);
            }
            Err(DirectoryError::Unknown(_)) => {
                self.own.next = self.own.next.min(now.boot + self.timing.renewal / 3);
                self.compare_own(now, call.was);
            }
        }
    }

    /// Handles that a record of this node was written: if it is of the present run, the session holds.
    fn own_written(&mut self, now: Now, call: OwnCall, revision: Revision) {
        self.wrote(now, revision);
        let process = self.own.incarnation.process;
        if self.own.seen.as_ref().is_some_and(|(seen, at)| {
            Some(*at) == call.was && seen.state.runs() && seen.incarnation.process != process
        }) {
            self.outputs.push_back(Output::Replaced);
        }
        if self.own.seen.as_ref().is_none_or(|(_, seen)| *seen < revision) {
            self.own.seen = Some((call.session.clone(), revision));
        }
        if self.own.leaving != Leaving::No || call.session.incarnation != self.own.incarnation {
            return;
        }
        if self.own.deadline.is_none() {
            // Silence counts only while the own session is good.
            self.others.values_mut().for_each(|other| other.since = now.boot);
        }
        self.told_gone(now, &call.session.gone);
        self.own.revision = Some(revision);
        self.own.sent = self.own.sent.max(Some(call.sent));
        self.extend(now);
    }

    /// Notes that the stream of changes must say soon that something has been written at this revision.
    pub(super) fn wrote(&mut self, now: Now, revision: Revision) {
        if self.view.streamed < revision.0 && self.own.unseen.is_none() {
            self.own.unseen = Some((revision, now.boot));
        }
        self.view.revision = self.view.revision.max(revision.0);
    }

    /// Notes that the stream of changes must say soon what a call has met in a conflict. If it has said it already, the
    /// next renewal does as well.
    pub(super) fn met_news(&mut self, now: Now) {
        if self.own.unseen.is_none() {
            self.own.unseen = Some((Revision(self.view.streamed.saturating_add(1)), now.boot));
        }
    }

    /// Extends the session to where its last renewal reaches. Not while it is not known whether the directory has
    /// forgotten claims, nor until those are written again: as long as they are not, others count on this session's
    /// end.
    fn extend(&mut self, now: Now) {
        if !self.view.whole || self.unconfirmed() {
            return;
        }
        let Some(sent) = self.own.sent.take() else { return };
        let deadline = sent + self.timing.hold;
        if deadline <= now.boot || self.own.deadline.is_some_and(|before| deadline <= before) {
            return;
        }
        self.own.deadline = Some(deadline);
        self.own.entered = true;
        self.outputs.push_back(Output::Holds(self.own.incarnation, deadline));
    }

    /// Sees a record under this node's own name.
    pub(super) fn see_own(&mut self, now: Now, session: Session, revision: Revision) {
        if self.own.seen.as_ref().is_some_and(|(_, seen)| *seen >= revision) {
            return;
        }
        self.own.seen = Some((session, revision));
        if self.own.call.is_none() {
            self.compare_own(now, self.own.revision);
        }
    }

    pub(super) fn see_no_own(&mut self, now: Now, revision: Revision) {
        if self.own.seen.as_ref().is_some_and(|(_, seen)| *seen < revision) {
            self.own.seen = None;
            self.own.revision = None;
            self.own.next = self.own.next.min(now.boot);
        }
    }

    /// Compares the record under this node's name with what the node believes, which it had at revision `was`.
    fn compare_own(&mut self, now: Now, was: Option<Revision>) {
        let Some((seen, revision)) = &self.own.seen else { return };
        if was.is_some_and(|was| *revision <= was) {
            return;
        }
        let (revision, mine) = (*revision, seen.incarnation == self.own.incarnation);
        let up = seen.state.runs();
        if self.own.leaving != Leaving::No {
            return;
        }
        if mine && up {
            // A try whose outcome was not known.
            self.own.revision = Some(revision);
            self.own.next = self.own.next.min(now.boot + self.timing.renewal / 3);
        } else if self.own.revision.is_some() {
            // Sealed, or another process of this name.
            self.lapse();
        } else {
            self.own.next = self.own.next.min(now.boot);
        }
    }

    /// Ends the session: nothing is held any more. The node enters again as another run.
    fn lapse(&mut self) {
        let held = self.own.deadline.take().is_some();
        (self.own.revision, self.own.sent) = (None, None);
        self.own.next = BootTime::ZERO;
        self.own.incarnation.term += 1;
        if held {
            self.outputs.push_back(Output::Lapsed);
        }
        self.lapse_rooms();
    }
}

/// Doublings of the time in which a stream of changes must say what there is: from 2 renewals to 8.
const MOST_DOUBLINGS: u32 = 2;
