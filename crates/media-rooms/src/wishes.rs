//! Wishes of a participant: which of the others' pictures it shows, and how large.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use callboard_peer_connection::TrackKind;

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

    /// Returns the order in which tracks of a kind get slots; none if these wishes prefer no track of that kind to
    /// another.
    pub(crate) fn order_of(&self, kind: TrackKind) -> Option<SlotOrder<'_>> {
        let counts = |wish: &Wish| (wish.pause, wish.priority);
        // What is wished of a track is about its picture.
        let ranks = kind == TrackKind::Video;
        let differs = ranks && self.tracks.values().any(|it| counts(it) != counts(&self.default));
        if !differs && self.order.is_empty() {
            return None;
        }
        let order = self.order.iter().enumerate();
        let places = order.rev().map(|(place, track)| (*track, place)).collect();
        Some(SlotOrder { wishes: self, ranks, places })
    }

    /// Returns whether there are at most [`MOST_TRACKS`](Self::MOST_TRACKS), as participants may have.
    pub fn is_within_limits(&self) -> bool {
        self.tracks.len() <= Self::MOST_TRACKS && self.order.len() <= Self::MOST_TRACKS
    }
}

/// Order in which a participant's wishes give slots to tracks of a kind.
pub(crate) struct SlotOrder<'a> {
    wishes: &'a Wishes,
    ranks: bool,
    places: HashMap<TrackId, usize>,
}

impl SlotOrder<'_> {
    /// Returns the place of a track; the lower comes first.
    pub(crate) fn place(&self, track: TrackId) -> impl Ord + use<> {
        let wish = if self.ranks { self.wishes.of(track) } else { Wish::default() };
        let place = self.places.get(&track).copied().unwrap_or(usize::MAX);
        (wish.pause, Reverse(wish.priority), place)
    }
}
