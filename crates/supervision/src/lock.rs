//! Lock of a mutex that outlives panics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A panic while it was locked cannot have left half a change: every change in this crate is one
/// assignment or insertion, or a call of an application's factory, which is called anew.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
