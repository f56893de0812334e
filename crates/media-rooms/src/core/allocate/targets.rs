//! Bitrates for which a viewer's bandwidth estimator should look.

use super::ladder::{Ladder, cost};
use super::speaker_first::budget_for;
use super::{Bitrate, Demand, Grant, total};

/// Bitrates for which the bandwidth estimator of a viewer should look, with the margins of the default allocator: an
/// estimate of this size bears what it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// What is needed for the grants and the cheapest step above them; 0 if there is none, or if the budget bears it
    /// and the allocator has not granted it nevertheless. The estimator sustains this rate by padding.
    pub(crate) minimum: Bitrate,
    /// What all tracks need at their wishes; where the minimum is 0, what the grants need. The estimator probes for it.
    pub(crate) desired: Bitrate,
}

impl Targets {
    /// Calculates the targets for these grants of this budget.
    pub(crate) fn new(budget: Bitrate, demands: &[Demand], grants: &[Grant]) -> Self {
        let granted = total(demands, grants);
        let step = cheapest_step(demands, grants).map(|step| budget_for(granted + step));
        let Some(step) = step.filter(|needed| *needed > budget) else {
            return Self { minimum: Bitrate::ZERO, desired: budget_for(granted) };
        };
        let wished = demands.iter().map(|demand| cost(demand, Ladder::of(demand).top())).sum();
        let desired = budget_for(wished);
        Self { minimum: step.min(desired), desired }
    }

    /// Returns whether both differ by less than a sixteenth.
    pub(super) fn is_near(self, other: Self) -> bool {
        let is_near = |one: Bitrate, other: Bitrate| {
            one.as_bps().abs_diff(other.as_bps()) <= other.as_bps() / 16
        };
        is_near(self.minimum, other.minimum) && is_near(self.desired, other.desired)
    }
}

/// Returns what the cheapest step costs that is wished and not granted.
fn cheapest_step(demands: &[Demand], grants: &[Grant]) -> Option<Bitrate> {
    let steps = demands.iter().zip(grants).filter_map(|(demand, grant)| {
        let granted = grant.layer();
        let next = Ladder::of(demand).after(granted)?;
        Some(cost(demand, Some(next)) - cost(demand, granted))
    });
    steps.min()
}
