//! Work of a supervisor, one step at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Answer, Core, Letter, Life, Output, State, Token};
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::policy::{Attempt, ChildPolicy, Key, Restart, Shutdown};

/// Piece of work that is finished before the next one begins.
#[derive(Debug)]
pub(super) enum Step {
    Start {
        key: Key,
        why: Why,
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
pub(super) enum Why {
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
pub(super) enum Doing {
    Start { key: Key, attempt: Attempt, why: Why, deadline: Option<Instant> },
    Stop(BTreeMap<Key, (Attempt, Option<Instant>)>),
}

impl Doing {
    /// Returns when to stop waiting: only a blocked thread has reported nothing until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Doing::Start { deadline, .. } => *deadline,
            Doing::Stop(stops) => stops.values().filter_map(|&(_, deadline)| deadline).min(),
        }
    }
}

impl Core {
    pub(super) fn perform(&mut self, now: Instant, step: Step) {
        match step {
            Step::Start { key, why } => self.start(now, key, why),
            Step::Stop(keys) => self.stop(now, &keys),
            Step::Terminated(key) => {
                let temporary = |policy: ChildPolicy| policy.restart == Restart::Temporary;
                if self.dynamic
                    || self.children.get(&key).is_some_and(|child| temporary(child.policy))
                {
                    self.forget(key);
                } else {
                    self.become_(key, State::Down);
                }
            }
            Step::Forget(keys) => keys.into_iter().for_each(|key| self.forget(key)),
            Step::Await(keys) => {
                keys.into_iter().for_each(|key| self.become_(key, State::Restarting))
            }
            Step::Reply(token, answer) => self.reply(token, answer),
            Step::Began => {
                self.life = Life::Running;
                self.outputs.push_back(Output::Began);
            }
            Step::BeginFailed(error) => {
                self.life = Life::Ended;
                self.outputs.push_back(Output::BeginFailed(error));
            }
            Step::End(reason) => {
                self.life = Life::Ended;
                self.outputs.push_back(Output::Ended(reason));
            }
        }
    }

    /// Stops all children, then ends with `reason`. Callers that still wait for an answer are told.
    pub(super) fn end(&mut self, reason: ExitReason) {
        self.wind_up(Step::End(reason));
    }

    /// Stops all children, then reports that this child of the start list did not start.
    pub(super) fn begin_failed(&mut self, key: Key, error: StartError) {
        let id = self.children.get(&key).map(|child| child.id.to_string()).unwrap_or_default();
        self.wind_up(Step::BeginFailed(StartSupervisorError::Child { id, error }));
    }

    /// Ends the start in progress, if it is this one; returns its reason.
    pub(super) fn finish_start(&mut self, key: Key, attempt: Attempt) -> Option<Why> {
        let doing = self.doing.take_if(|doing| {
            matches!(doing, Doing::Start { key: k, attempt: a, .. } if *k == key && *a == attempt)
        })?;
        self.down(key);
        match doing {
            Doing::Start { why, .. } => Some(why),
            Doing::Stop(_) => None,
        }
    }

    /// Returns whether this end was waited for; if it was the last one, the step is done.
    pub(super) fn stopped(&mut self, key: Key) -> bool {
        let Some(Doing::Stop(stops)) = &mut self.doing else { return false };
        let waited_for = stops.remove(&key).is_some();
        if stops.is_empty() {
            self.doing = None;
        }
        waited_for
    }

    /// Notes that the child has no instance.
    pub(super) fn down(&mut self, key: Key) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = State::Down;
            child.gone = false;
        }
    }

    /// Sets a state of the child that is decided here, not reported.
    pub(super) fn become_(&mut self, key: Key, state: State) {
        if let Some(child) = self.children.get_mut(&key) {
            child.state = state;
            child.gone = false;
            self.outputs.push_back(Output::Became { key, state });
        }
    }

    /// Cancels the start in progress: a supervisor that shuts down does not wait for a start that hangs.
    pub(super) fn cancel_start(&mut self) {
        if let Some(Doing::Start { key, attempt, deadline, .. }) = &mut self.doing {
            *deadline = None;
            let (key, attempt) = (*key, *attempt);
            self.outputs.push_back(Output::Stop { key, attempt, how: Shutdown::BrutalKill });
        }
    }

    /// Goes on without the instances that have not reported in time: their threads are blocked.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let due = |deadline: &Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match &self.doing {
            Some(Doing::Start { key, attempt, deadline, .. }) if due(deadline) => {
                let (key, attempt) = (*key, *attempt);
                let timeout =
                    self.children.get(&key).map(|c| c.policy.start_timeout).unwrap_or_default();
                self.outputs.push_back(Output::Abandon { key, attempt });
                if let Some(why) = self.finish_start(key, attempt) {
                    self.start_failed(key, why, StartError::TimedOut(timeout));
                }
            }
            Some(Doing::Stop(stops)) => {
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

    fn start(&mut self, now: Instant, key: Key, why: Why) {
        let attempt = Attempt(self.next_attempt);
        let Some(child) = self.children.get_mut(&key) else { return };
        if matches!(child.state, State::Running(_)) {
            return;
        }
        self.next_attempt += 1;
        child.state = State::Starting(attempt);
        child.gone = false;
        let deadline = now.checked_add(child.policy.start_timeout.saturating_add(ABANDON_GRACE));
        self.doing = Some(Doing::Start { key, attempt, why, deadline });
        if matches!(why, Why::Restart) {
            self.outputs.push_back(Output::Restarted { key });
        }
        self.outputs.push_back(Output::Start { key, attempt });
    }

    fn stop(&mut self, now: Instant, keys: &[Key]) {
        let mut stops = BTreeMap::new();
        for &key in keys {
            let Some(child) = self.children.get(&key) else { continue };
            match child.state {
                State::Running(_) if child.gone => self.down(key),
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
            self.doing = Some(Doing::Stop(stops));
        }
    }

    fn wind_up(&mut self, last: Step) {
        self.life = Life::Ending;
        let mut waiting: Vec<Token> = Vec::new();
        for step in self.agenda.drain(..) {
            match step {
                Step::Reply(token, _)
                | Step::Start { why: Why::Request(token) | Why::RestartRequest(token), .. } => {
                    waiting.push(token)
                }
                _ => {}
            }
        }
        for letter in self.inbox.drain(..) {
            if let Letter::Request { token, .. } = letter {
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
