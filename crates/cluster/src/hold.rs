//! Hold of a room: the right to run it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::boot_time::BootTime;
use crate::clock::Clock;
use crate::core::Granted;
use crate::record::Epoch;

/// Time until which a session holds. Read by every hold at each use, so that a process that stood still is fenced
/// before it does anything.
#[derive(Debug, Default)]
pub(crate) struct Lease(AtomicU64);

impl Lease {
    /// Extends the lease until this time, unless it has ended.
    pub(crate) fn extend(&self, deadline: BootTime) {
        let extended = |before| (before != ENDED).then_some(deadline.as_nanos().min(ENDED - 1));
        _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, extended);
    }

    /// Ends the lease for good: the next session has another.
    pub(crate) fn end(&self) {
        self.0.store(ENDED, Ordering::Release);
    }

    pub(crate) fn rest(&self, clock: Clock) -> Option<Duration> {
        let deadline = self.0.load(Ordering::Acquire);
        if deadline == ENDED {
            return None;
        }
        let deadline = BootTime::from_nanos(deadline);
        Some(deadline.since(clock.boot())).filter(|rest| !rest.is_zero())
    }
}

/// Function that gives a room back.
pub(crate) type GiveBack = Box<dyn Fn() + Send + Sync>;

/// Hold of a room: this node may run it, and no other node may, until the hold [is over](Self::is_good). Clones are the
/// same hold. Once the last of them is dropped, other nodes may take the room.
#[derive(Clone)]
pub struct Hold {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    room: Arc<str>,
    granted: Granted,
    lease: Arc<Lease>,
    clock: Clock,
    /// Whether it has ended before the lease.
    over: AtomicBool,
    /// Wakes those that wait for that.
    ended: Notify,
    give_back: GiveBack,
}

impl Hold {
    pub(crate) fn new(
        room: Arc<str>,
        granted: Granted,
        lease: Arc<Lease>,
        clock: Clock,
        give_back: GiveBack,
    ) -> Self {
        let (over, ended) = (AtomicBool::new(false), Notify::new());
        Self { inner: Arc::new(Inner { room, granted, lease, clock, over, ended, give_back }) }
    }

    /// Returns the name of the room.
    pub fn room(&self) -> &str {
        &self.inner.room
    }

    /// Returns the number of the hold, greater than those of all holds of the room before: a fencing token.
    pub fn epoch(&self) -> Epoch {
        self.inner.granted.epoch
    }

    /// Returns the number of the hold before this one, of any node; none if the directory knew of none. A node
    /// whose hold was over, and which has claimed the room anew, sees here whether another had it meanwhile: if not, it
    /// is the number of the hold that was over.
    pub fn follows(&self) -> Option<Epoch> {
        self.inner.granted.after
    }

    /// Returns whether another node has [given](crate::Cluster::give) the room to this one, which has not claimed it.
    pub fn was_given(&self) -> bool {
        self.inner.granted.given
    }

    /// Returns whether the room is still this node's. Once it is not, it never is again: [claim](crate::Cluster::claim)
    /// the room anew. Costs a look at the clock (some 25 ns): call it before each step that must not happen twice.
    /// While the room is being [given](crate::Cluster::give) to another node, that one may have it already: take no
    /// such step.
    pub fn is_good(&self) -> bool {
        !self.inner.over.load(Ordering::Acquire)
            && self.inner.lease.rest(self.inner.clock).is_some()
    }

    /// Waits until the hold is over.
    pub async fn over(&self) {
        // Before the check, so that the end is not missed.
        let ended = self.inner.ended.notified();
        if !self.inner.over.load(Ordering::Acquire) {
            ended.await;
        }
    }

    pub(crate) fn end(&self) {
        self.inner.over.store(true, Ordering::Release);
        self.inner.ended.notify_waiters();
    }

    /// Returns whether this is a handle to the same hold.
    pub(crate) fn is(&self, other: &std::sync::Weak<Inner>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.inner), other.as_ptr())
    }

    pub(crate) fn downgrade(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    pub(crate) fn upgrade(inner: &std::sync::Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(|inner| Self { inner })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        (self.give_back)();
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("room", &self.inner.room)
            .field("epoch", &self.epoch())
            .field("is_good", &self.is_good())
            .finish_non_exhaustive()
    }
}

/// Value of a lease that has ended.
const ENDED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_has_ended_is_not_extended() {
        let (lease, later) = (Lease::default(), Clock::Boot.boot() + Duration::from_secs(600));
        lease.extend(later);
        assert!(lease.rest(Clock::Boot).is_some());

        lease.end();
        lease.extend(later);

        assert!(lease.rest(Clock::Boot).is_none());
    }
}
