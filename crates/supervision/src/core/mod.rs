//! State and decisions of a supervisor, without I/O: reports, requests and time in, [`Output`] out.
//!
//! The rules are those of OTP's `supervisor`. The core runs nothing: its driver starts and stops the actors and reports
//! the results. One piece of work (a [`Step`]) is done at a time; reports and requests that come in meanwhile wait in
//! the inbox, as they would in the mailbox of an OTP supervisor.

mod budget;
mod child;
#[cfg(test)]
mod model;
mod restart;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::error::{SpecError, StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::policy::{
    Attempt, AutoShutdown, ChildId, ChildPolicy, Flags, Key, Restart, Shutdown, StartInfo, Strategy,
};

use budget::Budget;
use child::Child;
pub(crate) use child::State;
use work::{InProgress, StartCause, Step};

/// Id of a request that waits for its [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(pub(crate) u64);

/// State of one supervisor.
pub(crate) struct Core {
    flags: Flags,
    dynamic: bool,
    /// Boxed, because a node of the map has room for eleven.
    children: BTreeMap<Key, Box<Child>>,
    ids: HashMap<ChildId, Key>,
    next_key: u64,
    next_attempt: u64,
    budget: Budget,
    phase: Phase,
    agenda: VecDeque<Step>,
    in_progress: Option<InProgress>,
    inbox: VecDeque<Incoming>,
    delayed: BTreeSet<(Instant, Key)>,
    rng: fastrand::Rng,
    outputs: VecDeque<Output>,
}

/// Instruction to the driver.
#[derive(Debug)]
pub(crate) enum Output {
    /// Start an instance of the child; its reports carry this attempt.
    Start { key: Key, attempt: Attempt },
    /// Stop the instance; report its exit.
    Stop { key: Key, attempt: Attempt, how: Shutdown },
    /// Forget the instance: it reports no more, because its thread is blocked.
    Abandon { key: Key, attempt: Attempt },
    /// The spec that came with the request is now this child.
    Adopt { token: Token, key: Key },
    /// Drop the child's spec: the child is no more.
    Forget { key: Key },
    /// Show the child's new state, which was decided here and not reported.
    Became { key: Key, state: State },
    /// Count a restart: the start that follows is one.
    Restarted { key: Key },
    /// Log that the supervisor ends because this child would have to be restarted once more than allowed.
    GaveUp { key: Key },
    /// Answer a request.
    Reply { token: Token, answer: Answer },
    /// All children of the start list are up.
    Began,
    /// A child of the start list did not start, and those before it are down again.
    BeginFailed(StartSupervisorError),
    /// All children are down. The last output.
    Ended(ExitReason),
}

/// Request to a supervisor.
#[derive(Debug)]
pub(crate) enum Request {
    Start {
        id: ChildId,
        policy: ChildPolicy,
    },
    Terminate(ChildId),
    /// Terminates a dynamic supervisor's child, if this start of it still runs. None: it ended long ago.
    TerminateInstance(Option<(Key, Attempt)>),
    Restart(ChildId),
    Delete(ChildId),
    Which,
    Count,
    Policy(ChildId),
}

/// Answer to a request; its meaning depends on the request.
pub(crate) enum Answer {
    Started(Option<StartInfo>),
    Ignored,
    Done,
    Children(Vec<(ChildId, State, ChildPolicy)>),
    Counts(ChildCounts),
    Policy(ChildPolicy),
    StartFailed(StartError),
    AlreadyStarted,
    AlreadyPresent,
    BadSpec(SpecError),
    NotFound,
    Running,
    Restarting,
    Dynamic,
    ShuttingDown,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Started(_) => "Started",
            Self::Ignored => "Ignored",
            Self::Done => "Done",
            Self::Children(children) => return f.debug_tuple("Children").field(children).finish(),
            Self::Counts(counts) => return f.debug_tuple("Counts").field(counts).finish(),
            Self::Policy(policy) => return f.debug_tuple("Policy").field(policy).finish(),
            Self::StartFailed(error) => return f.debug_tuple("StartFailed").field(error).finish(),
            Self::AlreadyStarted => "AlreadyStarted",
            Self::AlreadyPresent => "AlreadyPresent",
            Self::BadSpec(error) => return f.debug_tuple("BadSpec").field(error).finish(),
            Self::NotFound => "NotFound",
            Self::Running => "Running",
            Self::Restarting => "Restarting",
            Self::Dynamic => "Dynamic",
            Self::ShuttingDown => "ShuttingDown",
        };
        f.write_str(word)
    }
}

/// Numbers of children of a supervisor (OTP: `count_children`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildCounts {
    /// Number of child specifications, running or not. A dynamic supervisor has one.
    pub specs: usize,
    /// Number of children that run.
    pub active: usize,
    /// Number of children that are supervisors, running or not.
    pub supervisors: usize,
    /// Number of children that are workers, running or not.
    pub workers: usize,
}

/// Report or request that waits until the supervisor is free.
#[derive(Debug)]
enum Incoming {
    Exit {
        key: Key,
        attempt: Attempt,
        reason: ExitReason,
    },
    Request {
        token: Token,
        request: Request,
    },
    /// A start failed during a restart: it is tried again, as another restart (OTP: `try_again_restart`).
    TryAgain(Key),
    /// The pause before a restart is over.
    Resume(Key),
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Beginning,
    Running,
    Ending,
    Ended,
}

impl Core {
    /// Creates the core of a supervisor with these children, which are numbered from 0 in start order.
    pub(crate) fn new(
        flags: Flags,
        dynamic: bool,
        children: Vec<(ChildId, ChildPolicy)>,
        seed: u64,
    ) -> Result<Self, SpecError> {
        if flags.period == Duration::ZERO {
            return Err(SpecError::InvalidPeriod);
        }
        if dynamic && (!children.is_empty() || flags.strategy != Strategy::OneForOne) {
            return Err(SpecError::Dynamic);
        }
        let mut core = Self {
            flags,
            dynamic,
            children: BTreeMap::new(),
            ids: HashMap::new(),
            next_key: 0,
            next_attempt: 0,
            budget: Budget::default(),
            phase: Phase::Beginning,
            agenda: VecDeque::new(),
            in_progress: None,
            inbox: VecDeque::new(),
            delayed: BTreeSet::new(),
            rng: fastrand::Rng::with_seed(seed),
            outputs: VecDeque::new(),
        };
        for (id, policy) in children {
            core.check(&id, &policy)?;
            if core.ids.contains_key(&id) {
                return Err(SpecError::DuplicateChild(id.to_string()));
            }
            core.insert(id, policy);
        }
        Ok(core)
    }

    /// Starts the children of the start list, one after another.
    pub(crate) fn begin(&mut self, now: Instant) {
        let starts = self.children.keys().map(|&key| Step::Start { key, cause: StartCause::Begin });
        self.agenda = starts.chain([Step::Began]).collect();
        self.advance(now);
    }

    /// Handles the report that an instance is up.
    pub(crate) fn handle_started(
        &mut self,
        now: Instant,
        key: Key,
        attempt: Attempt,
        info: Option<StartInfo>,
    ) {
        let Some(cause) = self.finish_start(key, attempt) else {
            // It came up after it had been given up, so it is killed.
            self.outputs.push_back(Output::Stop { key, attempt, how: Shutdown::BrutalKill });
            return;
        };
        if let Some(child) = self.children.get_mut(&key) {
            child.came_up(now, attempt);
        }
        if let StartCause::Request(token) | StartCause::RestartRequest(token) = cause {
            self.reply(token, Answer::Started(info));
        }
        self.advance(now);
    }

    /// Handles the report that a start failed.
    pub(crate) fn handle_start_failed(
        &mut self,
        now: Instant,
        key: Key,
        attempt: Attempt,
        error: StartError,
    ) {
        let Some(cause) = self.finish_start(key, attempt) else { return };
        self.start_failed(key, cause, error);
        self.advance(now);
    }

    /// Handles the report that an instance has ended.
    pub(crate) fn handle_exit(
        &mut self,
        now: Instant,
        key: Key,
        attempt: Attempt,
        reason: ExitReason,
    ) {
        let Some(child) = self.children.get_mut(&key) else { return };
        if child.state != State::Running(attempt) || child.exited {
            return; // not the current instance
        }
        child.exited = true;
        if self.stopped(key) {
            self.down(key);
        } else {
            self.inbox.push_back(Incoming::Exit { key, attempt, reason });
        }
        self.advance(now);
    }

    /// Handles a request; the caller waits for the reply to `token`.
    pub(crate) fn handle_request(&mut self, now: Instant, token: Token, request: Request) {
        match self.phase {
            Phase::Beginning | Phase::Running => {
                self.inbox.push_back(Incoming::Request { token, request })
            }
            Phase::Ending | Phase::Ended => self.reply(token, Answer::ShuttingDown),
        }
        self.advance(now);
    }

    /// Stops all children in reverse order, then ends with `reason`.
    pub(crate) fn handle_shutdown(&mut self, now: Instant, reason: ExitReason) {
        if matches!(self.phase, Phase::Beginning | Phase::Running) {
            self.cancel_start();
            self.end(reason);
        }
        self.advance(now);
    }

    /// Handles the passing of time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.delayed.first().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, key));
            self.inbox.push_back(Incoming::Resume(key));
        }
        self.give_up_waiting(now);
        self.advance(now);
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout), if there is no other input before.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.first().map(|&(at, _)| at);
        let waiting = self.in_progress.as_ref().and_then(InProgress::deadline);
        delayed.into_iter().chain(waiting).min()
    }

    /// Returns the next instruction to the driver.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // A supervisor is idle most of the time, and there are many small ones.
            self.outputs = VecDeque::new();
            if self.inbox.is_empty() && self.agenda.is_empty() {
                (self.inbox, self.agenda) = (VecDeque::new(), VecDeque::new());
            }
        }
        output
    }

    /// Does all work that can be done now.
    fn advance(&mut self, now: Instant) {
        while self.in_progress.is_none() {
            if let Some(step) = self.agenda.pop_front() {
                self.perform(now, step);
            } else if self.phase != Phase::Running {
                break;
            } else if let Some(incoming) = self.inbox.pop_front() {
                self.handle_incoming(now, incoming);
            } else {
                break;
            }
        }
    }

    fn handle_incoming(&mut self, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Exit { key, attempt, reason } => self.child_ended(now, key, attempt, &reason),
            Incoming::TryAgain(key) => self.try_again(now, key),
            Incoming::Resume(key) => self.resume(key),
            Incoming::Request { token, request } => self.answer(token, request),
        }
    }

    fn answer(&mut self, token: Token, request: Request) {
        let answer = match request {
            Request::Start { id, policy } => return self.start_child(token, id, policy),
            Request::Terminate(id) => return self.terminate_child(token, &id),
            Request::TerminateInstance(_) if !self.dynamic => Answer::NotFound,
            Request::TerminateInstance(instance) => {
                let running = instance.and_then(|(key, attempt)| {
                    let child = self.children.get(&key)?;
                    (child.state == State::Running(attempt)).then(|| child.id.clone())
                });
                match running {
                    Some(id) => return self.terminate_child(token, &id),
                    None => Answer::Done,
                }
            }
            Request::Restart(id) => match self.find(&id) {
                _ if self.dynamic => Answer::Dynamic,
                None => Answer::NotFound,
                Some((_, State::Running(_) | State::Starting(_))) => Answer::Running,
                Some((_, State::Restarting)) => Answer::Restarting,
                Some((key, State::Down)) => {
                    self.agenda
                        .push_back(Step::Start { key, cause: StartCause::RestartRequest(token) });
                    return;
                }
            },
            Request::Delete(id) => match self.find(&id) {
                _ if self.dynamic => Answer::Dynamic,
                None => Answer::NotFound,
                Some((_, State::Running(_) | State::Starting(_))) => Answer::Running,
                Some((_, State::Restarting)) => Answer::Restarting,
                Some((key, State::Down)) => {
                    self.forget(key);
                    Answer::Done
                }
            },
            Request::Which => Answer::Children(
                self.children
                    .values()
                    .map(|child| (child.id.clone(), child.state, child.policy))
                    .collect(),
            ),
            Request::Count => Answer::Counts(self.counts()),
            Request::Policy(id) => match self.find(&id) {
                Some((key, _)) => Answer::Policy(self.children[&key].policy),
                None => Answer::NotFound,
            },
        };
        self.reply(token, answer);
    }

    fn start_child(&mut self, token: Token, id: ChildId, policy: ChildPolicy) {
        let refusal = match (self.find(&id), self.check(&id, &policy)) {
            (Some((_, State::Running(_) | State::Starting(_))), _) => Answer::AlreadyStarted,
            (Some(_), _) => Answer::AlreadyPresent,
            (None, Err(error)) => Answer::BadSpec(error),
            (None, Ok(())) => {
                let key = self.insert(id, policy);
                self.outputs.push_back(Output::Adopt { token, key });
                self.agenda.push_back(Step::Start { key, cause: StartCause::Request(token) });
                return;
            }
        };
        self.reply(token, refusal);
    }

    /// Stops a child on request. Its end is no failure, spends no budget, and does not end the supervisor.
    fn terminate_child(&mut self, token: Token, id: &ChildId) {
        let Some((key, _)) = self.find(id) else { return self.reply(token, Answer::NotFound) };
        self.delayed.retain(|&(_, delayed)| delayed != key);
        self.agenda.extend([
            Step::Stop(vec![key]),
            Step::Terminated(key),
            Step::Reply(token, Answer::Done),
        ]);
    }

    fn counts(&self) -> ChildCounts {
        let supervisors = self.children.values().filter(|child| child.is_supervisor()).count();
        ChildCounts {
            specs: if self.dynamic { 1 } else { self.children.len() },
            active: self.children.values().filter(|child| child.is_running()).count(),
            supervisors,
            workers: self.children.len() - supervisors,
        }
    }

    fn check(&self, id: &ChildId, policy: &ChildPolicy) -> Result<(), SpecError> {
        match policy {
            ChildPolicy { significant: false, .. } => Ok(()),
            _ if self.flags.auto_shutdown == AutoShutdown::Never => {
                Err(SpecError::SignificantNever(id.to_string()))
            }
            ChildPolicy { restart: Restart::Permanent, .. } => {
                Err(SpecError::SignificantPermanent(id.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn insert(&mut self, id: ChildId, policy: ChildPolicy) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        self.ids.insert(id.clone(), key);
        self.children.insert(key, Box::new(Child::new(id, policy)));
        key
    }

    fn find(&self, id: &ChildId) -> Option<(Key, State)> {
        let key = *self.ids.get(id)?;
        Some((key, self.children.get(&key)?.state))
    }

    fn forget(&mut self, key: Key) {
        if let Some(child) = self.children.remove(&key) {
            self.ids.remove(&child.id);
            self.delayed.retain(|&(_, delayed)| delayed != key);
            self.outputs.push_back(Output::Forget { key });
        }
    }

    fn reply(&mut self, token: Token, answer: Answer) {
        self.outputs.push_back(Output::Reply { token, answer });
    }
}
