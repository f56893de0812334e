//! Watchdog that reports which actor blocks its thread.
//!
//! Every thread that polls instances records in its [`ThreadActivity`] which one it polls. The watchdog's own thread
//! checks all of them a few times a second: a thread that is in the same poll for too long is blocked, and with it
//! every other actor on it. To record a poll is two stores to memory that no other thread writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use crate::lock::lock;
use crate::log_subject;
use crate::monitor::{self, Name};
use crate::tree::{ActorRecord, InstanceId};

/// State of one thread: what it polls, and what the watchdog saw of it.
#[derive(Default)]
pub(crate) struct ThreadActivity {
    thread: String,
    /// Number of the instance that is being polled, or made; 0 while there is none.
    polled: AtomicU64,
    /// Number of polls that have begun. Only this thread writes it.
    polls: AtomicU64,
    /// Actor that is being made: it cannot be found by its instance yet.
    making: Mutex<Option<Arc<ActorRecord>>>,
    seen: Mutex<Seen>,
}

/// State of a thread at the watchdog's last check.
#[derive(Debug, Default)]
struct Seen {
    polls: u64,
    /// Number of checks in a row that saw the same poll.
    times: u32,
    reported: Option<Arc<str>>,
}

/// Guard of a poll of an instance; the poll ends when this is dropped.
pub(crate) struct PollGuard {
    before: u64,
}

/// Records that this instance is polled on this thread.
pub(crate) fn begin_poll(instance: InstanceId) -> PollGuard {
    let before = ACTIVITY.try_with(|activity| {
        activity
            .polls
            .store(activity.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let before = activity.polled.load(Ordering::Relaxed);
        activity.polled.store(instance.number(), Ordering::Relaxed);
        before
    });
    PollGuard { before: before.unwrap_or_default() }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        // If there is no activity, this thread is ending.
        _ = ACTIVITY.try_with(|activity| activity.polled.store(self.before, Ordering::Relaxed));
    }
}

/// Guard of a poll of a factory; the poll ends when this is dropped.
pub(crate) struct Making(#[expect(dead_code, reason = "ends the poll")] PollGuard);

/// Records that this actor is being made on this thread.
pub(crate) fn making(instance: InstanceId, record: &Arc<ActorRecord>) -> Making {
    _ = ACTIVITY.try_with(|activity| *lock(&activity.making) = Some(Arc::clone(record)));
    Making(begin_poll(instance))
}

impl Drop for Making {
    fn drop(&mut self) {
        _ = ACTIVITY.try_with(|activity| lock(&activity.making).take());
    }
}

/// Returns the number of the poll that this thread is in.
pub(crate) fn poll_number() -> u64 {
    ACTIVITY.try_with(|activity| activity.polls.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Returns this thread's activity.
pub(crate) fn activity() -> Arc<ThreadActivity> {
    ACTIVITY.with(Arc::clone)
}

impl ThreadActivity {
    fn of_this_thread() -> Arc<Self> {
        let thread = std::thread::current().name().unwrap_or("a thread without a name").to_owned();
        let activity = Arc::new(Self { thread, ..Self::default() });
        lock(&ACTIVITIES).push(Arc::clone(&activity));
        static WATCHDOG: Once = Once::new();
        WATCHDOG.call_once(|| {
            let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
            if let Err(error) = watchdog.spawn(watch) {
                log::error!("blocked threads are not reported: {error}");
            }
        });
        activity
    }

    /// Returns whether the thread is in a poll now, or blocked.
    pub(crate) fn is_busy(&self) -> bool {
        self.polled.load(Ordering::Relaxed) != 0
    }

    /// Checks once; returns a finding if there is one to report.
    fn check(&self) -> Option<Finding> {
        let (polled, polls) =
            (self.polled.load(Ordering::Relaxed), self.polls.load(Ordering::Relaxed));
        let mut seen = lock(&self.seen);
        if polled == 0 || polls != seen.polls {
            let before = std::mem::replace(&mut *seen, Seen { polls, times: 0, reported: None });
            return before
                .reported
                .map(|name| Finding::Recovered(name, CHECK_INTERVAL * before.times));
        }
        seen.times = seen.times.saturating_add(1);
        if seen.times < BLOCKED_AFTER || seen.reported.is_some() {
            return None;
        }
        let making = lock(&self.making).clone();
        let name = match (monitor::name_of(polled), making) {
            // It has been reported.
            (Some((_, true)), _) => return None,
            (Some((name, false)), _) => name,
            (None, Some(record)) => Name::Record(record),
            (None, None) => Name::Type("an actor that is stopping"),
        };
        seen.reported = Some(name.text());
        Some(Finding::Blocked(name, polled, CHECK_INTERVAL * seen.times))
    }

    fn report(&self, finding: Finding) {
        match finding {
            Finding::Blocked(name, instance, time) => {
                log_subject::under(name.subject(), || {
                    log::error!(
                        "{} has blocked the thread {} for {time:?}: nothing else goes on there",
                        name.text(),
                        self.thread
                    );
                });
                if let Name::Record(record) = name {
                    record.blocked(InstanceId::numbered(instance), time);
                }
            }
            Finding::Recovered(name, time) => {
                log::warn!(
                    "{name} runs again; it had blocked the thread {} for {time:?}",
                    self.thread
                );
            }
        }
    }
}

impl std::fmt::Debug for ThreadActivity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadActivity").field("thread", &self.thread).finish_non_exhaustive()
    }
}

enum Finding {
    Blocked(Name, u64, Duration),
    Recovered(Arc<str>, Duration),
}

fn watch() {
    loop {
        std::thread::park_timeout(CHECK_INTERVAL);
        let activities = {
            let mut activities = lock(&ACTIVITIES);
            // Records of threads that have ended have no other owner.
            activities.retain(|activity| Arc::strong_count(activity) > 1);
            activities.clone()
        };
        for activity in activities {
            if let Some(finding) = activity.check() {
                activity.report(finding);
            }
        }
    }
}

thread_local! {
    static ACTIVITY: Arc<ThreadActivity> = ThreadActivity::of_this_thread();
}

static ACTIVITIES: Mutex<Vec<Arc<ThreadActivity>>> = Mutex::new(Vec::new());

/// Interval of the watchdog's checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Number of checks in a row after which a thread that is in the same poll counts as blocked: a second.
const BLOCKED_AFTER: u32 = 4;
