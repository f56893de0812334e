//! Wishes of a participant: which of the others' pictures it shows, and how large.

use std::collections::BTreeMap;

use crate::core::allocate::Wish;
use crate::event::TrackId;

/// Wishes of a participant for the video that it receives. The default is all of it, as large and smooth as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wishes {
    /// Wish for each track that has none of its own.
    pub default: Wish,
    /// Wishes for single tracks, also for tracks that are not published yet.
    pub tracks: BTreeMap<TrackId, Wish>,
    /// Tracks in the order in which they get bandwidth, where their priority is the same; all others come after them,
    /// in the order of their slots. Where more is published than there are slots, these get them first.
    pub order: Vec<TrackId>,
}

impl Wishes {
    /// Most tracks in [`tracks`](Self::tracks), and in [`order`](Self::order).
    pub const MOST_TRACKS: usize = 256;

    /// Returns the wish for a track.
    pub fn of(&self, track: TrackId) -> Wish {
        self.tracks.get(&track).copied().unwrap_or(self.default)
    }

    /// Returns the place of a track in the order, behind all others if it is not in it.
    pub(crate) fn place(&self, track: TrackId) -> usize {
        self.order.iter().position(|&other| other == track).unwrap_or(usize::MAX)
    }

    /// Returns whether there are at most [`MOST_TRACKS`](Self::MOST_TRACKS), as participants may have.
    pub fn is_within_limits(&self) -> bool {
        self.tracks.len() <= Self::MOST_TRACKS && self.order.len() <= Self::MOST_TRACKS
    }
}
