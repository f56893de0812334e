//! Where children live.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;

/// Which thread a child runs on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Placement {
    /// The thread of its supervisor.
    #[default]
    Supervisor,
    /// The thread of this arbiter. When it has ended, starts there fail with
    /// [`StartError::ArbiterGone`](crate::StartError::ArbiterGone).
    On(ArbiterHandle),
    /// The next thread of this pool that lives.
    Pool(ArbiterPool),
}

/// Threads for actors; one that ends, or that an actor blocks, is replaced by a new one.
#[derive(Clone, Debug)]
pub struct ArbiterPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    threads: Vec<Mutex<Thread>>,
    next: AtomicUsize,
    replaced: AtomicUsize,
}

#[derive(Debug)]
struct Thread {
    arbiter: Arbiter,
    /// How many threads have stood in this place before.
    epoch: usize,
}

/// A thread of a pool that was picked for a child.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) arbiter: ArbiterHandle,
    place: usize,
    epoch: usize,
}

impl ArbiterPool {
    /// A pool of `size` threads, at least one. Needs a running actix [`System`].
    pub fn new(size: usize) -> Self {
        let threads = (0..size.max(1))
            .map(|_| Mutex::new(Thread { arbiter: Arbiter::new(), epoch: 0 }))
            .collect();
        Self {
            shared: Arc::new(Shared {
                threads,
                next: AtomicUsize::new(0),
                replaced: AtomicUsize::new(0),
            }),
        }
    }

    /// The threads that stand in the pool now.
    pub fn arbiters(&self) -> Vec<ArbiterHandle> {
        self.shared.threads.iter().map(|thread| lock(thread).arbiter.handle()).collect()
    }

    /// The next thread in turn, for work that is no child; a new one where one has ended.
    pub fn next(&self) -> ArbiterHandle {
        self.pick().arbiter
    }

    /// How many threads have been replaced because they ended or were blocked.
    pub fn replaced(&self) -> usize {
        self.shared.replaced.load(Ordering::Relaxed)
    }

    /// The next thread in turn; a new one where one has ended.
    pub(crate) fn pick(&self) -> Picked {
        let place = self.shared.next.fetch_add(1, Ordering::Relaxed) % self.shared.threads.len();
        let mut thread = lock(&self.shared.threads[place]);
        // An arbiter takes no more work once it has ended.
        if !thread.arbiter.spawn_fn(|| {}) {
            self.shared.renew(&mut thread);
        }
        Picked { arbiter: thread.arbiter.handle(), place, epoch: thread.epoch }
    }

    /// Have a new thread where this one is blocked; children that still run on the old one end when it does.
    pub(crate) fn replace(&self, picked: &Picked) {
        let mut thread = lock(&self.shared.threads[picked.place]);
        if thread.epoch == picked.epoch {
            self.shared.renew(&mut thread);
        }
    }
}

impl Shared {
    fn renew(&self, thread: &mut Thread) {
        let old = std::mem::replace(&mut thread.arbiter, Arbiter::new());
        thread.epoch += 1;
        self.replaced.fetch_add(1, Ordering::Relaxed);
        old.stop();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for thread in &self.threads {
            lock(thread).arbiter.stop();
        }
    }
}

fn lock(thread: &Mutex<Thread>) -> MutexGuard<'_, Thread> {
    thread.lock().unwrap_or_else(PoisonError::into_inner)
}
