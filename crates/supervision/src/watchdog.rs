//! Watchdog that reports which actor blocks its thread.
//!
//! Every thread that polls instances has a [`Heart`], in which it notes which instance it polls. The watchdog's own
//! thread looks at all of them a few times a second: a thread that is in the same poll for too long is blocked, and
//! with it every other actor on it. To note a poll is two stores to memory that no other thread writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use crate::monitor::{self, Name};
use crate::tree::{InstanceId, Station};

/// State of one thread: what it polls, and what the watchdog saw of it.
#[derive(Default)]
pub(crate) struct Heart {
    thread: String,
    /// Number of the instance that is being polled, or made; 0 while there is none.
    polled: AtomicU64,
    /// Number of polls that have begun. Only this thread writes it.
    polls: AtomicU64,
    /// Actor that is being made: it cannot be found by its instance yet.
    making: Mutex<Option<Arc<Station>>>,
    seen: Mutex<Seen>,
}

/// State of a thread at the watchdog's last look.
#[derive(Debug, Default)]
struct Seen {
    polls: u64,
    /// Number of looks in a row that saw the same poll.
    times: u32,
    told: Option<Arc<str>>,
}

/// Guard of a poll of an instance; the poll ends when this is dropped.
pub(crate) struct Beat {
    before: u64,
}

/// Notes that this instance is polled on this thread.
pub(crate) fn beat(instance: InstanceId) -> Beat {
    let before = HEART.try_with(|heart| {
        heart.polls.store(heart.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let before = heart.polled.load(Ordering::Relaxed);
        heart.polled.store(instance.number(), Ordering::Relaxed);
        before
    });
    Beat { before: before.unwrap_or_default() }
}

impl Drop for Beat {
    fn drop(&mut self) {
        // If there is no heart, this thread is ending.
        _ = HEART.try_with(|heart| heart.polled.store(self.before, Ordering::Relaxed));
    }
}

/// Guard of a poll of a factory; the poll ends when this is dropped.
pub(crate) struct Making(#[expect(dead_code, reason = "ends the poll")] Beat);

/// Notes that this actor is being made on this thread.
pub(crate) fn making(instance: InstanceId, station: &Arc<Station>) -> Making {
    _ = HEART.try_with(|heart| *lock(&heart.making) = Some(Arc::clone(station)));
    Making(beat(instance))
}

impl Drop for Making {
    fn drop(&mut self) {
        _ = HEART.try_with(|heart| lock(&heart.making).take());
    }
}

/// Returns the number of the poll that this thread is in.
pub(crate) fn poll_number() -> u64 {
    HEART.try_with(|heart| heart.polls.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Returns this thread's heart.
pub(crate) fn heart() -> Arc<Heart> {
    HEART.with(Arc::clone)
}

impl Heart {
    fn of_this_thread() -> Arc<Self> {
        let thread = std::thread::current().name().unwrap_or("a thread without a name").to_owned();
        let heart = Arc::new(Self { thread, ..Self::default() });
        lock(&HEARTS).push(Arc::clone(&heart));
        static WATCHDOG: Once = Once::new();
        WATCHDOG.call_once(|| {
            let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
            if let Err(error) = watchdog.spawn(watch) {
                log::error!("nothing tells of blocked threads: {error}");
            }
        });
        heart
    }

    /// Returns whether the thread is in a poll now, or blocked.
    pub(crate) fn is_busy(&self) -> bool {
        self.polled.load(Ordering::Relaxed) != 0
    }

    /// Looks once; returns a finding if there is one to report.
    fn look(&self) -> Option<Finding> {
        let (polled, polls) =
            (self.polled.load(Ordering::Relaxed), self.polls.load(Ordering::Relaxed));
        let mut seen = lock(&self.seen);
        if polled == 0 || polls != seen.polls {
            let before = std::mem::replace(&mut *seen, Seen { polls, times: 0, told: None });
            return before.told.map(|name| Finding::GoesOn(name, LOOK * before.times));
        }
        seen.times = seen.times.saturating_add(1);
        if seen.times < BLOCKED || seen.told.is_some() {
            return None;
        }
        let making = lock(&self.making).clone();
        let name = match (monitor::name_of(polled), making) {
            // It has been reported.
            (Some((_, true)), _) => return None,
            (Some((name, false)), _) => name,
            (None, Some(station)) => Name::Station(station),
            (None, None) => Name::Type("an actor that is stopping"),
        };
        seen.told = Some(name.text());
        Some(Finding::Blocked(name, polled, LOOK * seen.times))
    }

    fn tell(&self, finding: Finding) {
        match finding {
            Finding::Blocked(name, instance, time) => {
                log::error!(
                    "{} has blocked the thread {} for {time:?}: nothing else goes on there",
                    name.text(),
                    self.thread
                );
                if let Name::Station(station) = name {
                    station.blocked(InstanceId::numbered(instance), time);
                }
            }
            Finding::GoesOn(name, time) => {
                log::warn!(
                    "{name} goes on; it had blocked the thread {} for {time:?}",
                    self.thread
                );
            }
        }
    }
}

impl std::fmt::Debug for Heart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heart").field("thread", &self.thread).finish_non_exhaustive()
    }
}

enum Finding {
    Blocked(Name, u64, Duration),
    GoesOn(Arc<str>, Duration),
}

fn watch() {
    loop {
        std::thread::park_timeout(LOOK);
        let hearts = {
            let mut hearts = lock(&HEARTS);
            // Hearts of threads that have ended have no other owner.
            hearts.retain(|heart| Arc::strong_count(heart) > 1);
            hearts.clone()
        };
        for heart in hearts {
            if let Some(finding) = heart.look() {
                heart.tell(finding);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static HEART: Arc<Heart> = Heart::of_this_thread();
}

static HEARTS: Mutex<Vec<Arc<Heart>>> = Mutex::new(Vec::new());

/// Interval of the watchdog's looks.
const LOOK: Duration = Duration::from_millis(250);
/// Number of looks in a row in which a thread must be in the same poll to count as blocked: a second.
const BLOCKED: u32 = 4;
