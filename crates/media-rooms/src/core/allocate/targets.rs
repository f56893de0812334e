//! Bitrates for which a viewer's bandwidth estimator should look.

use super::ladder::{Ladder, cost};
use super::speaker_first::budget_for;
use super::{Bitrate, Demand, Grant, total};

/// Bitrates for which the bandwidth estimator of a viewer should look, with the margins of the default allocator: an
/// estimate of this size bears what it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// What is needed for the grants and the cheapest step above them; 0 if there is none. The estimator sustains this
    /// rate by padding.
    pub(crate) minimum: Bitrate,
    /// What all tracks need at their wishes. The estimator probes for it.
    pub(crate) desired: Bitrate,
}

impl Targets {
    /// Calculates the targets for these grants.
    pub(crate) fn new(demands: &[Demand], grants: &[Grant]) -> Self {
        let wished = demands.iter().map(|demand| cost(demand, Ladder::of(demand).top())).sum();
        let desired = budget_for(wished);
        let minimum = cheapest_step(demands, grants)
            .map_or(Bitrate::ZERO, |step| budget_for(total(demands, grants) + step));
        Self { minimum: minimum.min(desired), desired }
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
