//! Starvation of a viewer: nothing flows, so that nothing is measured, and the estimate stays too low for anything.

use std::time::{Duration, Instant};

use super::{Bitrate, Grant, Targets};

/// Watch over a viewer whose tracks are all paused for lack of bandwidth. Its estimator is to be reset then, because
/// without media it never recovers.
#[derive(Debug)]
pub(crate) struct Starvation {
    /// Time of the next reset.
    due: Option<Instant>,
    /// Time from the beginning of starvation, or from the last reset, to the next.
    wait: Duration,
    /// Since when it does not starve.
    fed: Option<Instant>,
}

impl Starvation {
    /// Handles the latest grants, or the end of the time of [`poll_timeout`](Self::poll_timeout), with the targets for
    /// them. Returns the bitrate to which the estimator is to be reset, if it is: what the cheapest track needs.
    pub(crate) fn handle_grants(
        &mut self,
        now: Instant,
        targets: Targets,
        grants: &[Grant],
    ) -> Option<Bitrate> {
        let flows = grants.iter().any(|grant| grant.layer().is_some());
        if flows || targets.minimum == Bitrate::ZERO {
            self.due = None;
            self.fed.get_or_insert(now);
            return None;
        }
        // What flows after a reset for a while does not say that the link bears it.
        if self.fed.take().is_some_and(|fed| now >= fed + FORGOTTEN) {
            self.wait = FIRST_RESET;
        }
        if now < *self.due.get_or_insert(now + self.wait) {
            return None;
        }
        self.wait = (self.wait * 2).min(LAST_RESET);
        self.due = Some(now + self.wait);
        Some(targets.minimum)
    }

    /// Returns when [`handle_grants`](Self::handle_grants) is due though nothing has changed.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Default for Starvation {
    fn default() -> Self {
        Self { due: None, wait: FIRST_RESET, fed: None }
    }
}

/// Time for which everything is paused before the estimator is reset.
const FIRST_RESET: Duration = Duration::from_secs(5);

/// Longest time between two resets: it doubles, because a link that is really too slow carries audio still.
const LAST_RESET: Duration = Duration::from_secs(60);

/// Time without starvation after which it begins with the shortest time again.
const FORGOTTEN: Duration = Duration::from_secs(30);
