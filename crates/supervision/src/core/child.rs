//! State of one child in its supervisor.

use std::time::{Duration, Instant};

use crate::policy::{Attempt, ChildId, ChildKind, ChildPolicy};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) policy: ChildPolicy,
    pub(super) state: State,
    /// Whether the current instance has ended, and its end is not dealt with yet.
    pub(super) exited: bool,
    /// Number of its own restarts that are used up ([`ChildPolicy::retries`]).
    pub(super) retries: u32,
    /// Number of restarts in a row, for the backoff.
    restarts_in_a_row: u32,
    up_since: Option<Instant>,
}

/// State of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no instance, and none is wanted now.
    Down,
    Starting(Attempt),
    Running(Attempt),
    /// There is no instance, and the supervisor is about to try again.
    Restarting,
}

impl Child {
    pub(super) fn new(id: ChildId, policy: ChildPolicy) -> Self {
        Self {
            id,
            policy,
            state: State::Down,
            exited: false,
            retries: 0,
            restarts_in_a_row: 0,
            up_since: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_)) && !self.exited
    }

    pub(super) fn is_supervisor(&self) -> bool {
        self.policy.kind == ChildKind::Supervisor
    }

    pub(super) fn came_up(&mut self, now: Instant, attempt: Attempt) {
        self.state = State::Running(attempt);
        self.exited = false;
        self.up_since = Some(now);
    }

    /// Returns the pause before the restart that is due now; zero without backoff.
    pub(super) fn pause(&mut self, now: Instant, chance: f64) -> Duration {
        let Some(backoff) = self.policy.backoff else { return Duration::ZERO };
        let lived = self.up_since.take().map(|since| now.saturating_duration_since(since));
        if lived.is_some_and(|lived| lived >= backoff.reset_after) {
            self.restarts_in_a_row = 0;
        }
        self.restarts_in_a_row = self.restarts_in_a_row.saturating_add(1);
        backoff.pause(self.restarts_in_a_row, chance)
    }
}
