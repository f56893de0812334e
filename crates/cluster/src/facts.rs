//! What can be told of a node.

use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(crate) fn facts(&self, lease_remaining: Option<Duration>) -> ClusterFacts {
        ClusterFacts {
            lease_remaining,
            claims_granted: self.granted.get(),
            claims_elsewhere: self.elsewhere.get(),
            claims_unavailable: self.unavailable.get(),
            lapses: self.lapses.get(),
            yields: self.yields.get(),
            seals: self.seals.get(),
        }
    }
}
