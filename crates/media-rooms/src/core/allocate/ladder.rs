//! Ladder of a demand: the layers that it may be granted, one step after another.

use super::{Bitrate, Demand};

/// Indices of the layers that a demand may be granted, in ascending quality and cost.
///
/// These are not on it: layers above the wish, and those that cost no less than a better one.
#[derive(Debug)]
pub(super) struct Ladder(Vec<usize>);

impl Ladder {
    pub(super) fn of(demand: &Demand) -> Self {
        if demand.wish.pause {
            return Self(Vec::new());
        }
        let mut wished: Vec<_> =
            (0..demand.layers.len()).filter(|&index| is_wished(demand, index)).collect();
        // What is wished may not exist in this combination; the lowest layer always does.
        if wished.is_empty() && !demand.layers.is_empty() {
            wished.push(0);
        }
        let mut cheapest = None;
        wished.reverse();
        wished.retain(|&index| {
            let cost = demand.layers[index].bitrate;
            let is_worth = cheapest.is_none_or(|cheapest| cost < cheapest);
            if is_worth {
                cheapest = Some(cost);
            }
            is_worth
        });
        wished.reverse();
        Self(wished)
    }

    /// Returns the layer that comes after this one; after none, the lowest.
    pub(super) fn after(&self, layer: Option<usize>) -> Option<usize> {
        self.0.iter().copied().find(|&next| layer.is_none_or(|layer| next > layer))
    }

    /// Returns the layer that is wished.
    pub(super) fn top(&self) -> Option<usize> {
        self.0.last().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Calculates the bitrate of a demand that is granted this layer.
pub(super) fn cost(demand: &Demand, layer: Option<usize>) -> Bitrate {
    layer.map_or(Bitrate::ZERO, |layer| demand.layers[layer].bitrate)
}

/// Returns whether a layer has not more than the wish needs.
fn is_wished(demand: &Demand, index: usize) -> bool {
    let (layers, wish, layer) = (&demand.layers, &demand.wish, &demand.layers[index]);
    is_needed(wish.height, layer.height, layers.iter().filter_map(|other| other.height))
        && is_needed(wish.fps, layer.fps, layers.iter().filter_map(|other| other.fps))
}

/// Returns whether no layer has enough and less than this one.
fn is_needed(wish: Option<u32>, has: Option<u32>, mut all: impl Iterator<Item = u32>) -> bool {
    let (Some(wish), Some(has)) = (wish, has) else { return true };
    !all.any(|other| other >= wish && other < has)
}
