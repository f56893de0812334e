//! Default allocator.

use std::cmp::Reverse;

use super::ladder::{Ladder, cost};
use super::{Allocator, Bitrate, Demand, Grant};

/// Default [`Allocator`]: tracks by their priority, of equal ones the speaker first, then in the viewer's order.
///
/// In this order each track gets its lowest layer, then each the next one, and so on up to its wish, as long as 90 % of
/// the budget bear it. What does not fit is passed over, so that a cheaper track after it may flow. A layer above the
/// one that was granted last needs room for a tenth more than the new total, so that a small change of the estimate
/// does not switch back and forth.
///
/// The first track whose priority is above 0 is never paused if its lowest layer takes at most 200 kbit/s: a path that
/// carries video at all bears that, and an estimate below is rather one that is too low for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeakerFirst;

impl Allocator for SpeakerFirst {
    fn allocate(&mut self, budget: Bitrate, demands: &[Demand], grants: &mut Vec<Grant>) {
        let keep = budget.percent(USED_PERCENT);
        let ladders: Vec<_> = demands.iter().map(Ladder::of).collect();
        let mut climbing: Vec<_> = (0..demands.len()).collect();
        climbing.sort_by_key(|&index| rank(&demands[index]));

        let is_pinned =
            |index: &usize| demands[*index].wish.priority > 0 && !ladders[*index].is_empty();
        let pinned = climbing.iter().copied().find(is_pinned);

        grants.resize(demands.len(), Grant::Paused);
        let mut used = Bitrate::ZERO;
        while !climbing.is_empty() {
            climbing.retain(|&index| {
                let (demand, granted) = (&demands[index], grants[index].layer());
                let Some(next) = ladders[index].after(granted) else { return false };
                let total = used - cost(demand, granted) + cost(demand, Some(next));
                let is_upgrade = demand.current.is_none_or(|current| next > current);
                let fits = if is_upgrade { total.percent(UPGRADE_PERCENT) } else { total } <= keep;
                let goes_on = pinned == Some(index) && granted.is_none() && total <= LEAST;
                if fits || goes_on {
                    used = total;
                    grants[index] = Grant::Layer(next);
                }
                fits || goes_on
            });
        }
    }
}

fn rank(demand: &Demand) -> impl Ord + use<> {
    (Reverse(demand.wish.priority), !demand.is_speaker)
}

/// Calculates the lowest budget that bears this total where a layer of it was not granted before.
pub(super) fn budget_for(total: Bitrate) -> Bitrate {
    total.percent(UPGRADE_PERCENT).percent_of(USED_PERCENT)
}

/// Share of the budget that is used: the rest is for retransmissions, headers and errors of the estimate.
const USED_PERCENT: u64 = 90;

/// Share of the new total that an upgrade must find.
const UPGRADE_PERCENT: u64 = 110;

/// Bitrate that the first track of a priority may take beyond any budget.
const LEAST: Bitrate = Bitrate::from_kbps(200);
