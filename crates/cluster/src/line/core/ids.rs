//! Ids of lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Number of a line among all of this process: of two lines to the same node, and even to the same process of it, each
/// has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub(crate) u64);

/// Line ids of this process: no other process has the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    process: Uuid,
    /// Number of the last one.
    last: Arc<AtomicU64>,
}

impl Ids {
    pub(crate) fn new(process: Uuid) -> Self {
        Self { process, last: Arc::default() }
    }

    pub(super) fn draw(&self) -> u64 {
        let id = self.base().wrapping_add(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        // 0 is none.
        if id == 0 { self.draw() } else { id }
    }

    pub(super) fn are_mine(&self, id: u64) -> bool {
        (1..=self.last.load(Ordering::Relaxed)).contains(&id.wrapping_sub(self.base()))
    }

    pub(super) fn process(&self) -> Uuid {
        self.process
    }

    fn base(&self) -> u64 {
        self.process.as_u64_pair().0
    }
}
