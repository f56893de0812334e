//! Placement of children on threads, and pools of threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use actix::prelude::*;

use crate::lock::lock;
use crate::watchdog::{self, ThreadActivity};

/// Thread on which a child runs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Placement {
    /// The thread of the child's supervisor.
    #[default]
    Supervisor,
    /// The thread of this arbiter. When the arbiter has ended, starts there fail with
    /// [`StartError::ArbiterGone`](crate::StartError::ArbiterGone).
    On(ArbiterHandle),
    /// The thread of this pool that has the fewest children, among the threads that are not busy at the moment. A pool
    /// of one thread with no other child on it gives the child a thread of its own.
    Pool(ArbiterPool),
}

/// Pool of threads for actors; a thread that ends, or that an actor blocks, is replaced by a new one.
#[derive(Clone, Debug)]
pub struct ArbiterPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None where a thread has not been needed yet.
    threads: Vec<Mutex<Option<Thread>>>,
    next: AtomicUsize,
    replaced: AtomicUsize,
}

#[derive(Debug)]
struct Thread {
    arbiter: Arbiter,
    /// State of the thread as the watchdog reads it; set by the thread's first task.
    activity: Arc<OnceLock<Arc<ThreadActivity>>>,
    /// Counter of children by its references: one for each child that was placed here, and one of the thread itself.
    load: Arc<()>,
    /// Number of earlier threads in this place.
    epoch: u32,
}

/// Thread of a pool that was picked for a child.
#[derive(Clone, Debug)]
pub(crate) struct PickedThread {
    pub(crate) arbiter: ArbiterHandle,
    place: u32,
    epoch: u32,
    /// Held as long as the child runs.
    _load: Arc<()>,
}

impl ArbiterPool {
    /// Creates a pool of `size` threads, at least one. Needs a running actix [`System`].
    pub fn new(size: usize) -> Self {
        Self::with((0..size.max(1)).map(|_| Some(Thread::new(0))))
    }

    /// Creates a pool of up to `max` threads, at least one. Each is started when it is first needed: when a child is
    /// placed while every other one has a child, or is busy.
    pub fn growing(max: usize) -> Self {
        Self::with((0..max.max(1)).map(|_| None))
    }

    fn with(threads: impl Iterator<Item = Option<Thread>>) -> Self {
        let threads = threads.map(Mutex::new).collect();
        let (next, replaced) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { threads, next, replaced }) }
    }

    /// Returns the threads that are in the pool now.
    pub fn arbiters(&self) -> Vec<ArbiterHandle> {
        let handle = |thread: &Mutex<Option<Thread>>| Some(lock(thread).as_ref()?.arbiter.handle());
        self.shared.threads.iter().filter_map(handle).collect()
    }

    /// Returns the thread for the next piece of work that is no child, in turn; a new one where one has ended.
    pub fn next(&self) -> ArbiterHandle {
        self.pick().arbiter
    }

    /// Returns how many threads have been replaced because they ended or were blocked.
    pub fn replaced(&self) -> usize {
        self.shared.replaced.load(Ordering::Relaxed)
    }

    /// Picks the thread for the next child: not busy if there is one, then with the fewest children, then in turn. A
    /// new one where one has ended.
    pub(crate) fn pick(&self) -> PickedThread {
        let threads = &self.shared.threads;
        let first = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let places = (0..threads.len()).map(|offset| (first + offset) % threads.len());
        let place = places.min_by_key(|&place| match &*lock(&threads[place]) {
            Some(thread) => (thread.is_busy(), thread.children(), false),
            // Before one that has a child, after one that has none.
            None => (false, 0, true),
        });
        let place = place.expect("a pool has a thread at least");
        let mut thread = lock(&threads[place]);
        let thread = thread.get_or_insert_with(|| Thread::new(0));
        // An arbiter takes no more work once it has ended.
        if !thread.arbiter.spawn_fn(|| {}) {
            self.shared.renew(thread);
        }
        PickedThread {
            arbiter: thread.arbiter.handle(),
            place: place as u32,
            epoch: thread.epoch,
            _load: Arc::clone(&thread.load),
        }
    }

    /// Starts a new thread in place of this blocked one; children that still run on the old one end when it does.
    pub(crate) fn replace(&self, picked: &PickedThread) {
        let mut thread = lock(&self.shared.threads[picked.place as usize]);
        if let Some(thread) = thread.as_mut().filter(|thread| thread.epoch == picked.epoch) {
            self.shared.renew(thread);
        }
    }
}

impl Thread {
    fn new(epoch: u32) -> Self {
        let (arbiter, activity) = (Arbiter::new(), Arc::new(OnceLock::new()));
        let its = Arc::clone(&activity);
        arbiter.spawn_fn(move || _ = its.set(watchdog::activity()));
        Self { arbiter, activity, load: Arc::default(), epoch }
    }

    /// Returns whether an actor runs on the thread at this moment, or blocks it.
    fn is_busy(&self) -> bool {
        self.activity.get().is_some_and(|activity| activity.is_busy())
    }

    fn children(&self) -> usize {
        Arc::strong_count(&self.load) - 1
    }
}

impl Shared {
    fn renew(&self, thread: &mut Thread) {
        let old = std::mem::replace(thread, Thread::new(thread.epoch + 1));
        self.replaced.fetch_add(1, Ordering::Relaxed);
        old.arbiter.stop();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for thread in &self.threads {
            if let Some(thread) = &*lock(thread) {
                thread.arbiter.stop();
            }
        }
    }
}
