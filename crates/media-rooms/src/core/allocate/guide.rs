//! Guide of a viewer's bandwidth estimator: for what it looks, and when it begins anew.

use std::time::Instant;

use super::{Bitrate, Demand, Grant, Starvation, Targets};

/// Guide of one viewer's estimator.
#[derive(Debug, Default)]
pub(crate) struct Guide {
    /// What the estimator was told.
    told: Targets,
    starvation: Starvation,
}

/// What the estimator is to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Other targets than it was [told](Guide::told) before.
    pub(crate) targets: Option<Targets>,
    /// Bitrate with which it is to begin anew.
    pub(crate) reset: Option<Bitrate>,
}

impl Guide {
    /// Handles the latest grants, or the end of the time of [`poll_timeout`](Self::poll_timeout), with the estimate and
    /// what flows beside what was granted. Without an estimate there is nothing to advise.
    pub(crate) fn handle_grants(
        &mut self,
        now: Instant,
        (estimate, beside): (Option<Bitrate>, Bitrate),
        demands: &[Demand],
        grants: &[Grant],
    ) -> Advice {
        let Some(estimate) = estimate else {
            *self = Self::default();
            return Advice::default();
        };
        let granted = Targets::new(estimate - beside, demands, grants);
        let minimum = match granted.minimum {
            Bitrate::ZERO => Bitrate::ZERO,
            minimum => minimum + beside,
        };
        let targets = Targets { minimum, desired: granted.desired + beside };
        let reset = self.starvation.handle_grants(now, granted, grants);
        Advice {
            targets: (!targets.is_near(self.told)).then_some(targets),
            reset: reset.map(|enough| enough + beside),
        }
    }

    /// Notes that the estimator was told these targets.
    pub(crate) fn told(&mut self, targets: Targets) {
        self.told = targets;
    }

    /// Returns when [`handle_grants`](Self::handle_grants) is due though nothing has changed.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.starvation.poll_timeout()
    }
}
