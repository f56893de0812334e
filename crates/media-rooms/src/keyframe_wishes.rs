//! Wishes for key frames, by which a tap of this crate asks for them: its actor knows which encoding flows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::TrackId;

/// Tracks for which a tap needs a key frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyframeWishes(Arc<Mutex<BTreeSet<TrackId>>>);

impl KeyframeWishes {
    /// Notes that a key frame of this track is needed.
    pub(crate) fn want(&self, track: TrackId) {
        self.tracks().insert(track);
    }

    /// Returns the tracks that were noted, and forgets them.
    pub(crate) fn take(&self) -> BTreeSet<TrackId> {
        std::mem::take(&mut *self.tracks())
    }

    fn tracks(&self) -> MutexGuard<'_, BTreeSet<TrackId>> {
        // Each change is one call, and cannot panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
