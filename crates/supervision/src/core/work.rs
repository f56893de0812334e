//! Work of a supervisor, one step at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Answer, Core, Incoming, Output, Phase, State, Token};
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::policy::{Attempt, ChildPolicy, Key, Restart, Shutdown};

/// Piece of work that is finished before the next one begins.
#[derive(Debug)]
pub(super) enum Step {
    Start {
        key: Key,
        cause: StartCause,
    },
    /// Stop the children of this list that run, all at once.
    Stop(Vec<Key>),
    /// Finish the stop of a child on request.
    Terminated(Key),
    /// Forget these children: temporary members of a group that is restarted.
    Forget(Vec<Key>),
    /// Mark these children as restarting: they are started when the pause is over.
    Await(Vec<Key>),
    Reply(Token, Answer),
    Began,
    BeginFailed(StartSupervisorError),
    End(ExitReason),
}

/// Reason why a child is started.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartCause {
    /// The child is in the start list.
    Begin,
    /// A caller of `start_child` asked for it.
    Request(Token),
    /// A caller of `restart_child` asked for it.
    RestartRequest(Token),
    /// The child or one of its group has failed.
    Restart,
}

/// Step that waits for a report.
#[derive(Debug)]
pub(super) enum InProgress {
    Start { key: Key, attempt: Attempt, cause: StartCause, deadline: Option<Instant> },
    Stop(BTreeMap<Key, (Attempt, Option<Instant>)>),
}

impl InProgress {
    /// Returns when to stop waiting: only a blocked thread has reported nothing until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            InProgress::Start { deadline, .. } => *deadline,
            InProgress::Stop(stops) => stops.values().filter_map(|&(_, deadline)| deadline).min(),
        }
    }
}

impl Core {
    pub(super) fn perform(&mut self, now: Instant, step: Step) {
        match step {
            Step::Start { key, cause } => self.start(now, key, cause),
            Step::Stop(keys) => self.stop(now, &keys),
            Step::Terminated(key) => {
                let temporary = |policy: ChildPolicy| policy.restart == Restart::Temporary;
                if self.dynamic
                    || self.children.get(&key).is_some_and(|child| temporary(child.policy))
                {
                    self.forget(key);
                } else {
                    self.set_state(key, State::Down);
                }
            }
            Step::Forget(keys) => keys.into_iter().for_each(|key| self.forget(key)),
            Step::Await(keys) => {
                keys.into_iter().for_each(|key| self.set_state(key, State::Restarting))
            }
            Step::Reply(token, answer) => self.reply(token, answer),
            Step::Began => {
                self.phase = Phase::Running;
                self.outputs.push_back(Output::Began);
            }
            Step::BeginFailed(error) => {
                self.phase = Phase::Ended;
                self.outputs.push_back(Output::BeginFailed(error));
            }
            Step::End(reason) => {
                self.phase = Phase::Ended;
                self.outputs.push_back(Output::Ended(reason));
            }
        }
    }

    /// Stops all children, then ends with `reason`. Callers that still wait for an answer get one.
    pub(super) fn end(&mut self, reason: ExitReason) {
        self.stop_all_then(Step::End(reason));
    }

    /// Stops all children, then reports that this child of the start list did not start.
    pub(super) fn begin_failed(&mut self, key: Key, error: StartError) {
        let id = self.children.get(&key).map(|child| child.id.to_string()).unwrap_or_default();
        self.stop_all_then(Step::BeginFailed(StartSupervisorError::Child { id, error }));
    }

    /// Ends the start in progress, if it is this one; returns its reason.
    pub(super) fn finish_start(&mut self, key: Key, attempt: Attempt) -> Option<StartCause> {
        let in_progress = self.in_progress.take_if(|in_progress| {
            matches!(in_progress, InProgress::Start { key: k, attempt: a, .. } if *k == key && *a == attempt)
        })?;
        self.down(key);
        match in_progress {
            InProgress::Start { cause, .. } => Some(cause),
            InProgress::Stop(_) => None,
        }
    }

    /// Returns whether this end was waited for; if it was the last one, the step is done.
    pub(super) fn stopped(&mut self, key: Key) -> bool {
        let Some(InProgress::Stop(stops)) = &mut self.in_progress else { return false };
        let waited_for = stops.remove(&key).is_some();
        if stops.is_empty() {
            self.in_progress = None;
        }
        waited_for
    }

    /// Records that the child has no instance.
    pub(super) fn down(&mut self, key: Key) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = State::Down;
            child.exited = false;
        }
    }

    /// Sets a state of the child that is decided here, not reported.
    pub(super) fn set_state(&mut self, key: Key, state: State) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = state;
            child.exited = false;
            self.outputs.push_back(Output::Became { key, state });
        }
    }

    /// Cancels the start in progress: a supervisor that shuts down does not wait for a start that hangs.
    pub(super) fn cancel_start(&mut self) {
        if let Some(InProgress::Start { key, attempt, deadline, .. }) = &mut self.in_progress {
            *deadline = None;
            let (key, attempt) = (*key, *attempt);
            self.outputs.push_back(Output::Stop { key, attempt, how: Shutdown::BrutalKill });
        }
    }

    /// Goes on without the instances that have not reported in time: their threads are blocked.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let due = |deadline: &Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match &self.in_progress {
            Some(InProgress::Start { key, attempt, deadline, .. }) if due(deadline) => {
                let (key, attempt) = (*key, *attempt);
                let timeout =
                    self.children.get(&key).map(|c| c.policy.start_timeout).unwrap_or_default();
                self.outputs.push_back(Output::Abandon { key, attempt });
                if let Some(cause) = self.finish_start(key, attempt) {
                    self.start_failed(key, cause, StartError::TimedOut(timeout));
                }
            }
            Some(InProgress::Stop(stops)) => {
                let late: Vec<_> = stops
                    .iter()
                    .filter(|(_, (_, d))| due(d))
                    .map(|(&key, &(attempt, _))| (key, attempt))
                    .collect();
                for (key, attempt) in late {
                    self.outputs.push_back(Output::Abandon { key, attempt });
                    self.stopped(key);
                    self.down(key);
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, now: Instant, key: Key, cause: StartCause) {
        let attempt = Attempt(self.next_attempt);
        let Some(child) = self.children.get_mut(&key) else { return };
        if matches!(child.state, State::Running(_)) {
            return;
        }
        self.next_attempt += 1;
        child.state = State::Starting(attempt);
        child.exited = false;
        let deadline = now.checked_add(child.policy.start_timeout.saturating_add(ABANDON_GRACE));
        self.in_progress = Some(InProgress::Start { key, attempt, cause, deadline });
        if matches!(cause, StartCause::Restart) {
            self.outputs.push_back(Output::Restarted { key });
        }
        self.outputs.push_back(Output::Start { key, attempt });
    }

    fn stop(&mut self, now: Instant, keys: &[Key]) {
        let mut stops = BTreeMap::new();
        for &key in keys {
            let Some(child) = self.children.get(&key) else { continue };
            match child.state {
                State::Running(_) if child.exited => self.down(key),
                State::Running(attempt) => {
                    let how = child.policy.shutdown;
                    let deadline = match how {
                        Shutdown::BrutalKill => Some(now + ABANDON_GRACE),
                        Shutdown::Timeout(timeout) => {
                            now.checked_add(timeout.saturating_add(ABANDON_GRACE))
                        }
                        Shutdown::Infinity => None,
                    };
                    stops.insert(key, (attempt, deadline));
                    self.outputs.push_back(Output::Stop { key, attempt, how });
                }
                State::Starting(_) | State::Restarting | State::Down => {}
            }
        }
        if !stops.is_empty() {
            self.in_progress = Some(InProgress::Stop(stops));
        }
    }

    fn stop_all_then(&mut self, last: Step) {
        self.phase = Phase::Ending;
        let mut waiting: Vec<Token> = Vec::new();
        for step in self.agenda.drain(..) {
            match step {
                Step::Reply(token, _)
                | Step::Start {
                    cause: StartCause::Request(token) | StartCause::RestartRequest(token),
                    ..
                } => waiting.push(token),
                _ => {}
            }
        }
        for incoming in self.inbox.drain(..) {
            if let Incoming::Request { token, .. } = incoming {
                waiting.push(token);
            }
        }
        for token in waiting {
            self.reply(token, Answer::ShuttingDown);
        }
        self.delayed.clear();
        let keys = self.children.keys().copied();
        if self.dynamic {
            self.agenda.push_back(Step::Stop(keys.collect()));
        } else {
            self.agenda.extend(keys.rev().map(|key| Step::Stop(vec![key])));
        }
        self.agenda.push_back(last);
    }
}

/// Time after its time-out in which an instance may still report that it was dropped; one on this thread does so at
/// once.
const ABANDON_GRACE: Duration = Duration::from_secs(1);
