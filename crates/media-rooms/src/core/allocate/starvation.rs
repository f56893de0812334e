//! Starvation of a viewer: nothing flows, so that nothing is measured, and the estimate stays too low for anything.

use std::time::{Duration, Instant};

use super::ladder::Ladder;
use super::{Bitrate, Demand, Grant, Targets};

/// Watch over a viewer whose tracks are all paused for lack of bandwidth. Its estimator is to be reset then, because
/// without media it never recovers.
#[derive(Debug, Default)]
pub(crate) struct Starvation {
    /// Time of the next reset, and how long it is after the one before.
    due: Option<(Instant, Duration)>,
}

impl Starvation {
    /// Handles the latest grants, or the end of the time of [`poll_timeout`](Self::poll_timeout). Returns the bitrate
    /// to which the estimator is to be reset, if it is: what the cheapest track needs.
    pub(crate) fn handle_grants(
        &mut self,
        now: Instant,
        demands: &[Demand],
        grants: &[Grant],
    ) -> Option<Bitrate> {
        let flows = grants.iter().any(|grant| grant.layer().is_some());
        if flows || demands.iter().all(|demand| Ladder::of(demand).is_empty()) {
            self.due = None;
            return None;
        }
        let (at, wait) = *self.due.get_or_insert((now + FIRST_RESET, FIRST_RESET));
        if now < at {
            return None;
        }
        let wait = (wait * 2).min(LAST_RESET);
        self.due = Some((now + wait, wait));
        Some(Targets::new(demands, grants).minimum)
    }

    /// Returns when [`handle_grants`](Self::handle_grants) is due though nothing has changed.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }
}

/// Time for which everything is paused before the estimator is reset.
const FIRST_RESET: Duration = Duration::from_secs(5);

/// Longest time between two resets: it doubles, because a link that is really too slow carries audio still.
const LAST_RESET: Duration = Duration::from_secs(60);
