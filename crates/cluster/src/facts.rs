//! What can be told of a node.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What has happened at a node since its process began, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterFacts {
    /// Time for which the session holds if it is not renewed; none if there is no session.
    pub lease_remaining: Option<Duration>,
    /// Requests for rooms that were granted, those for rooms that were held already included.
    pub claims_granted: u64,
    /// Requests for rooms that other nodes had.
    pub claims_elsewhere: u64,
    /// Requests for rooms that had no known node that may run them.
    pub claims_unavailable: u64,
    /// Sessions that have ended, also because the node was stopped.
    pub lapses: u64,
    /// Rooms that the node has lost to another since the directory had forgotten them.
    pub yields: u64,
    /// Other nodes' sessions that this node has sealed because they were silent.
    pub seals: u64,
    /// Other nodes' sessions that this node has sealed because their processes were gone: connections to their
    /// [addresses](crate::ClusterBuilder::liveness) were refused.
    pub refusals: u64,
    /// Sessions of earlier processes under this node's name that this process has replaced at once, because its
    /// [lock](crate::ClusterBuilder::lock_file) proves that they have ended.
    pub replacements: u64,
    /// Other nodes whose processes have answered this one at their
    /// [addresses](crate::ClusterBuilder::liveness), and so can prove that they are gone: all that have one, or three
    /// of more.
    pub watched: usize,
    /// Whether the directory has answered the last call of this node.
    pub engine_up: bool,
    /// Time that the directory took for the last renewal of the session that it has answered; none before the first.
    pub renewal: Option<Duration>,
}

/// Counts behind [`ClusterFacts`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) granted: Count,
    pub(crate) elsewhere: Count,
    pub(crate) unavailable: Count,
    pub(crate) lapses: Count,
    pub(crate) yields: Count,
    pub(crate) seals: Count,
    pub(crate) refusals: Count,
    pub(crate) replacements: Count,
    watched: AtomicUsize,
    engine_up: AtomicBool,
    /// In nanoseconds; 0 if there was none.
    renewal: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// Notes whether the directory has answered a call.
    pub(crate) fn called(&self, answered: bool) {
        self.engine_up.store(answered, Ordering::Relaxed);
    }

    /// Notes how many other nodes' processes have answered.
    pub(crate) fn watches(&self, count: usize) {
        self.watched.store(count, Ordering::Relaxed);
    }

    /// Notes how long the directory took for a renewal.
    pub(crate) fn renewed(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.renewal.store(took.max(1), Ordering::Relaxed);
    }

    pub(crate) fn facts(&self, lease_remaining: Option<Duration>) -> ClusterFacts {
        let renewal = self.renewal.load(Ordering::Relaxed);
        ClusterFacts {
            lease_remaining,
            claims_granted: self.granted.get(),
            claims_elsewhere: self.elsewhere.get(),
            claims_unavailable: self.unavailable.get(),
            lapses: self.lapses.get(),
            yields: self.yields.get(),
            seals: self.seals.get(),
            refusals: self.refusals.get(),
            replacements: self.replacements.get(),
            watched: self.watched.load(Ordering::Relaxed),
            engine_up: self.engine_up.load(Ordering::Relaxed),
            renewal: (renewal > 0).then(|| Duration::from_nanos(renewal)),
        }
    }
}
