//! Seats of bots: what the room's actors know of each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::event::TrackId;
use crate::messages::Viewer;

/// Seat of a bot.
#[derive(Default)]
pub(crate) struct BotSeat {
    has_left: AtomicBool,
    viewers: ArcSwap<Vec<Arc<Viewer>>>,
    /// Tracks whose next frame should be a key frame.
    wanted: Mutex<BTreeSet<TrackId>>,
}

impl BotSeat {
    /// Sets who receives anything of the bot.
    pub(crate) fn show_to(&self, viewers: Vec<Arc<Viewer>>) {
        self.viewers.store(Arc::new(viewers));
    }

    pub(crate) fn viewers(&self) -> Guard<Arc<Vec<Arc<Viewer>>>> {
        self.viewers.load()
    }

    /// Records that a viewer needs a key frame.
    pub(crate) fn want(&self, track: TrackId) {
        self.wanted().insert(track);
    }

    /// Returns whether a key frame is wanted, and forgets that.
    pub(crate) fn take_wish(&self, track: TrackId) -> bool {
        self.wanted().remove(&track)
    }

    pub(crate) fn leave(&self) {
        self.has_left.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<TrackId>> {
        // Each change is one call, and cannot panic halfway.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
