//! Consequences of the end of a child: restarts, auto-shutdown, giving up.

use std::time::Instant;

use super::work::{StartCause, Step};
use super::{Core, Incoming, Output, State};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::policy::{Attempt, AutoShutdown, Key, Restart, Strategy};

impl Core {
    /// Handles the end of a child that ended by itself (OTP: `restart_child`, `do_restart`).
    pub(super) fn child_ended(
        &mut self,
        now: Instant,
        key: Key,
        attempt: Attempt,
        reason: &ExitReason,
    ) {
        let Some(child) = self.children.get_mut(&key) else { return };
        if child.state != State::Running(attempt) {
            return; // stopped or restarted meanwhile
        }
        let restart = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => reason.is_abnormal(),
            Restart::Temporary => false,
        };
        let retry = !restart && reason.is_abnormal() && child.retries < child.policy.retries;
        let significant = child.policy.significant;
        self.down(key);
        if restart {
            self.restart(now, key);
        } else if retry {
            self.retry(now, key);
        } else {
            self.ended_for_good(key, significant);
        }
    }

    /// Tries one more restart, after a start failed during a restart and the reports and requests before it were
    /// handled.
    pub(super) fn try_again(&mut self, now: Instant, key: Key) {
        let Some(child) = self.children.get(&key).filter(|child| child.state == State::Restarting)
        else {
            return; // terminated or restarted meanwhile
        };
        if child.policy.restart != Restart::Temporary {
            self.restart(now, key);
        } else if child.retries < child.policy.retries {
            self.retry(now, key);
        } else {
            let significant = child.policy.significant;
            self.set_state(key, State::Down);
            self.ended_for_good(key, significant);
        }
    }

    /// Restarts the child after the pause.
    pub(super) fn resume(&mut self, key: Key) {
        let Some(child) = self.children.get(&key).filter(|child| child.state == State::Restarting)
        else {
            return;
        };
        let alone = child.policy.restart == Restart::Temporary;
        let group = if alone { vec![key] } else { self.group(key) };
        let due = group.into_iter().filter(|key| self.children[key].state == State::Restarting);
        let starts: Vec<_> =
            due.map(|key| Step::Start { key, cause: StartCause::Restart }).collect();
        self.agenda.extend(starts);
    }

    /// Handles a start that gave no instance.
    pub(super) fn start_failed(&mut self, key: Key, cause: StartCause, error: StartError) {
        let ignored = error == StartError::Ignore;
        match cause {
            StartCause::Begin if ignored => self.declined(key),
            StartCause::Begin => self.begin_failed(key, error),
            StartCause::Request(token) => {
                if ignored {
                    self.declined(key);
                    self.reply(token, super::Answer::Ignored);
                } else {
                    self.forget(key);
                    self.reply(token, super::Answer::StartFailed(error));
                }
            }
            StartCause::RestartRequest(token) => {
                let answer = if ignored {
                    super::Answer::Ignored
                } else {
                    super::Answer::StartFailed(error)
                };
                self.reply(token, answer);
            }
            StartCause::Restart if ignored => self.declined(key),
            StartCause::Restart => {
                // The children after it in the group stay down until it is up.
                if self.phase == super::Phase::Running {
                    self.agenda.clear();
                    self.set_state(key, State::Restarting);
                    self.inbox.push_back(Incoming::TryAgain(key));
                }
            }
        }
    }

    /// Handles a child that declined to start: its spec stays, unless the child is temporary or of a dynamic
    /// supervisor.
    fn declined(&mut self, key: Key) {
        if self.dynamic
            || self.children.get(&key).is_some_and(|c| c.policy.restart == Restart::Temporary)
        {
            self.forget(key);
        }
    }

    /// Restarts a child and its group, if the budget allows it.
    fn restart(&mut self, now: Instant, key: Key) {
        if !self.budget.spend(now, self.flags.intensity, self.flags.period) {
            self.outputs.push_back(Output::GaveUp { key });
            return self.end(ExitReason::ReachedMaxRestartIntensity);
        }
        let group = self.group(key);
        let others = group.iter().rev().filter(|&&other| other != key);
        let stops: Vec<_> = others.map(|&other| Step::Stop(vec![other])).collect();
        let (dropped, wanted): (Vec<_>, Vec<_>) = group.into_iter().partition(|&other| {
            other != key && self.children[&other].policy.restart == Restart::Temporary
        });
        self.agenda.extend(stops);
        self.agenda.push_back(Step::Forget(dropped));
        self.start_after_pause(now, key, wanted);
    }

    /// Restarts a temporary child from its own retries.
    fn retry(&mut self, now: Instant, key: Key) {
        if let Some(child) = self.children.get_mut(&key) {
            child.retries += 1;
        }
        self.start_after_pause(now, key, vec![key]);
    }

    fn start_after_pause(&mut self, now: Instant, key: Key, wanted: Vec<Key>) {
        let chance = self.rng.f64();
        let pause =
            self.children.get_mut(&key).map(|child| child.pause(now, chance)).unwrap_or_default();
        if pause.is_zero() {
            self.agenda.extend(
                wanted.into_iter().map(|key| Step::Start { key, cause: StartCause::Restart }),
            );
        } else {
            self.agenda.push_back(Step::Await(wanted));
            self.delayed.insert((now + pause, key));
        }
    }

    /// Returns the children that are restarted with `key`, in start order, `key` included.
    fn group(&self, key: Key) -> Vec<Key> {
        match self.flags.strategy {
            Strategy::OneForOne => vec![key],
            Strategy::OneForAll => self.children.keys().copied().collect(),
            Strategy::RestForOne => self.children.range(key..).map(|(&key, _)| key).collect(),
        }
    }

    /// Handles a child that has ended and is not restarted (OTP: `do_auto_shutdown`).
    fn ended_for_good(&mut self, key: Key, significant: bool) {
        let keep = !self.dynamic
            && self
                .children
                .get(&key)
                .is_some_and(|child| child.policy.restart == Restart::Transient);
        if !keep {
            self.forget(key);
        }
        let ends = significant
            && match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self
                    .children
                    .values()
                    .any(|child| child.policy.significant && child.state != State::Down),
            };
        if ends {
            self.end(ExitReason::SHUTDOWN);
        }
    }
}
