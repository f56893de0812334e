//! Members that are on their way from one node to another.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::member::Member;

/// Members that are on their way from one node to another, and have no membership meanwhile.
#[derive(Default)]
pub(crate) struct Parked(Mutex<Vec<Member>>);

impl Parked {
    pub(crate) fn take_if(&self, is_it: impl Fn(&Member) -> bool) -> Option<Member> {
        let mut parked = self.lock();
        let at = parked.iter().position(is_it)?;
        Some(parked.swap_remove(at))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        // Every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
