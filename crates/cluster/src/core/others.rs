//! Other nodes: which of them live, which are dead, and sealing those.

use std::time::Duration;

use super::process::Process;
use super::{Call, CallId, Core, Outcome, Output};
use crate::boot_time::{BootTime, Now};
use crate::directory::DirectoryError;
use crate::node_id::NodeId;
use crate::record::{Claim, Holder, Revision, Session, SessionState};

/// What is known of another node, or of another process under this node's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Other {
    /// Record seen last; none if only claims of the node are known.
    pub(super) record: Option<(Session, Revision)>,
    /// Last holder of this name that a claim tells of, for a session that has no record.
    holder: Option<Holder>,
    /// Time since which nothing new was heard of it, while it could have been heard.
    pub(super) since: BootTime,
    sealing: Option<(CallId, Session, Proof)>,
    /// What is known of its process.
    pub(super) process: Process,
    /// Time before which it is not tried again to seal it.
    not_before: BootTime,
}

impl Other {
    fn new(since: BootTime) -> Self {
        let (record, holder, sealing, process) = (None, None, None, Process::default());
        Self { record, holder, since, sealing, process, not_before: BootTime::ZERO }
    }
}

/// Why a node is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    /// It has not renewed its session for so long that this is over by its own clock.
    Silence,
    /// Its process is gone.
    Refusal,
}

/// What is known of the holder of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is this node's present run.
    Mine,
    /// It lives, as far as is known.
    Alive { node: NodeId, url: Option<String> },
    /// It may be dead.
    Doubtful,
    /// It holds nothing any more.
    Dead,
}

impl Core {
    pub(super) fn see_session(&mut self, now: Now, session: Session, revision: Revision) {
        if session.node == self.me.node {
            let mine = session.incarnation.process == self.me.process;
            self.see_own(now, session.clone(), revision);
            if mine {
                self.others.remove(&session.node);
                return;
            }
        }
        self.view.longest_hold = self.view.longest_hold.max(session.hold);
        let other = self.others.entry(session.node.clone()).or_insert_with(|| Other::new(now.boot));
        if other.record.as_ref().is_none_or(|(_, seen)| *seen < revision) {
            let news = (session.incarnation, session.state);
            let known = other.record.as_ref().map(|(known, _)| (known.incarnation, known.state));
            if known != Some(news) {
                self.outputs.push_back(Output::Seen(Box::new(session.clone())));
            }
            other.process.handle_session(&session);
            let (finder, found) = (session.node.clone(), session.gone.clone());
            other.record = Some((session, revision));
            other.since = now.boot;
            self.see_found(now, &finder, &found);
        }
    }

    pub(super) fn see_no_session(&mut self, now: Now, node: &NodeId, revision: Revision) {
        if *node == self.me.node {
            self.see_no_own(now, revision);
        }
        let Some(other) = self.others.get_mut(node) else { return };
        match &other.record {
            Some((_, seen)) if *seen > revision => {}
            // It was removed because no claim names it.
            Some((session, _)) if session.state == SessionState::Sealed => {
                self.others.remove(node);
            }
            Some(_) => (other.record, other.since) = (None, now.boot),
            None => {}
        }
    }

    /// Notes that a claim tells of this holder: if its session has no record, it is watched for one.
    pub(super) fn see_holder(&mut self, now: Now, holder: &Holder) {
        if holder.node == self.me.node && holder.incarnation.process == self.me.process {
            return;
        }
        let other = self.others.entry(holder.node.clone()).or_insert_with(|| Other::new(now.boot));
        other.holder = Some(holder.clone());
    }

    /// Returns what is known of the holder of a claim that was written at this revision.
    pub(super) fn verdict(&self, now: Now, holder: &Holder, at: Revision) -> Verdict {
        let Holder { node, incarnation } = holder;
        if *node == self.me.node && incarnation.process == self.me.process {
            // Its earlier runs have lapsed.
            let mine = *incarnation == self.own.incarnation;
            return if mine { Verdict::Mine } else { Verdict::Dead };
        }
        // The session of this process is the proof that earlier ones of its name have ended.
        if *node == self.me.node && self.own.deadline.is_some() {
            return Verdict::Dead;
        }
        let Some(other) = self.others.get(node) else { return Verdict::Doubtful };
        let Some((session, revision)) = &other.record else { return Verdict::Doubtful };
        if session.incarnation != *incarnation {
            // The same name has come back: the run that the claim is of has ended.
            return if *revision > at { Verdict::Dead } else { Verdict::Doubtful };
        }
        match session.state {
            SessionState::Sealed => Verdict::Dead,
            // No client is sent to where it is.
            SessionState::Up | SessionState::Draining if *node == self.me.node => Verdict::Doubtful,
            SessionState::Up | SessionState::Draining
                if now.boot.since(other.since) >= self.timing.doubt_of(session.hold) =>
            {
                Verdict::Doubtful
            }
            SessionState::Up | SessionState::Draining => {
                Verdict::Alive { node: node.clone(), url: session.url.clone() }
            }
        }
    }

    /// Returns whether the holder of this claim is known to be dead.
    pub(super) fn is_over(&self, now: Now, claim: &Claim, at: Revision) -> bool {
        claim.holder.as_ref().is_none_or(|holder| self.verdict(now, holder, at) == Verdict::Dead)
    }

    /// Returns when a node is dead if nothing is heard of it until then: by its silence, or because it is gone.
    pub(super) fn silence_ends(&self, other: &Other) -> Option<BootTime> {
        let sealed = |(session, _): &(Session, _)| session.state == SessionState::Sealed;
        let watched = match &other.record {
            Some(record) => !sealed(record),
            None => other.holder.is_some(),
        };
        // A node whose own session is not good judges none, but whether its own name is free.
        let may = self.view.whole && (self.own.deadline.is_some() || self.is_own_name(other));
        let due = watched && may && other.sealing.is_none();
        // Of a session that has no record, the hold is not known.
        let hold = other.record.as_ref().map_or(self.view.longest_hold, |(record, _)| record.hold);
        due.then(|| {
            let silent = other.since + self.timing.silence_of(hold);
            let end = self.proven_gone(other).map_or(silent, |proven| proven.min(silent));
            end.max(other.not_before)
        })
    }

    fn is_own_name(&self, other: &Other) -> bool {
        other.record.as_ref().is_some_and(|(session, _)| session.node == self.me.node)
    }

    /// Seals the sessions of the nodes that are dead.
    pub(super) fn tend_others(&mut self, now: Now) {
        let dead = |other: &Other| self.silence_ends(other).is_some_and(|end| end <= now.boot);
        let dead: Vec<NodeId> = self
            .others
            .iter()
            .filter(|(_, other)| dead(other))
            .map(|(node, _)| node.clone())
            .collect();
        for node in dead {
            let other = &self.others[&node];
            let proven = self.proven_gone(other).is_some_and(|proven| proven <= now.boot);
            let proof = if proven { Proof::Refusal } else { Proof::Silence };
            let was = other.record.as_ref().map(|(_, revision)| *revision);
            let session = match (&other.record, &other.holder) {
                (Some((session, _)), _) => session.clone(),
                (None, Some(holder)) => lost_session(holder, self.timing.hold),
                (None, None) => continue,
            };
            let sealed = Session { state: SessionState::Sealed, ..session };
            let call = self.call(Call::Seal(sealed.clone(), was));
            if let Some(other) = self.others.get_mut(&node) {
                other.sealing = Some((call, sealed, proof));
            }
        }
    }

    /// Returns the node that this call seals.
    pub(super) fn sealing(&self, id: CallId) -> Option<NodeId> {
        let sealed_by =
            |other: &Other| other.sealing.as_ref().is_some_and(|(call, ..)| *call == id);
        self.others.iter().find(|(_, other)| sealed_by(other)).map(|(node, _)| node.clone())
    }

    pub(super) fn handle_sealed(&mut self, now: Now, node: &NodeId, outcome: Outcome) {
        let sealing = self.others.get_mut(node).and_then(|other| other.sealing.take());
        let Some((_, session, proof)) = sealing else { return };
        match outcome {
            Ok(revision) => {
                self.wrote(now, revision);
                self.outputs.push_back(Output::Sealed(node.clone(), proof));
                self.see_session(now, session, revision);
            }
            // It lives, or another has sealed it: the changes will say it.
            Err(DirectoryError::Conflict) => {
                self.met_news(now);
                self.heard(now, node);
            }
            Err(DirectoryError::Unknown(_)) => {
                // What was sent may be done late, and does no harm.
                if let Some(other) = self.others.get_mut(node) {
                    other.not_before = now.boot + self.timing.renewal / 3;
                }
            }
        }
    }

    fn heard(&mut self, now: Now, node: &NodeId) {
        if let Some(other) = self.others.get_mut(node) {
            other.since = now.boot;
            other.process.forget_finding();
        }
    }
}

/// Returns what stands for the session of a holder whose record the directory does not have.
fn lost_session(holder: &Holder, hold: Duration) -> Session {
    let Holder { node, incarnation } = holder.clone();
    let (n, state, gone) = (0, SessionState::Up, Vec::new());
    Session { node, incarnation, n, state, hold, url: None, zone: None, liveness: None, gone }
}
