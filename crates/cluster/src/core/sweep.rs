//! Removal of records that are of no use any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Call, Core};
use crate::boot_time::Now;
use crate::directory::Key;
use crate::record::{Revision, SessionState};

impl Core {
    /// Removes the claims of long ago that no node holds. One node does it for all.
    pub(super) fn sweep(&mut self, now: Now) {
        if now.boot < self.sweep_at {
            return;
        }
        self.sweep_at = now.boot + self.timing.memory / 4;
        let lives = |other: &super::Other| {
            other.record.as_ref().is_some_and(|(session, _)| session.state.runs())
        };
        let first = self.others.iter().find(|(_, other)| lives(other)).map(|(node, _)| node);
        if !self.stands(now.boot)
            || !self.view.whole
            || first.is_some_and(|node| *node < self.me.node)
        {
            return;
        }
        let memory = self.timing.memory;
        let old = |since| now.boot.since(since) >= memory;
        let useless = self.rooms.iter().filter_map(|(name, room)| {
            let (claim, at) = room.seen.as_ref()?;
            let useless = Self::is_idle(room) && old(room.since) && self.is_over(now, claim, *at);
            useless.then(|| (Arc::clone(name), *at))
        });
        let mut useless: Vec<(Arc<str>, Revision)> = useless.collect();
        let at_once = (useless.len() / 64).clamp(AT_ONCE, MOST_AT_ONCE);
        if useless.len() > at_once {
            self.sweep_at = now.boot + self.timing.renewal;
            useless.truncate(at_once);
        }
        for (name, at) in useless {
            self.forget_room(&name, at);
        }
        let holders = self.rooms.values().filter_map(|room| room.seen.as_ref()?.0.holder.as_ref());
        let named: BTreeSet<_> = holders.map(|holder| &holder.node).collect();
        let gone = self.others.iter().filter_map(|(node, other)| {
            let (session, at) = other.record.as_ref()?;
            let useless =
                session.state == SessionState::Sealed && old(other.since) && !named.contains(node);
            useless.then(|| (node.clone(), *at))
        });
        // The others' turn comes with the next sweep.
        for (node, at) in gone.take(AT_ONCE).collect::<Vec<_>>() {
            // The changes say whether it was done.
            self.call(Call::Forget(Key::Node(node), at));
        }
    }
}

/// Number of records that are removed at once: a 64th of them, but at least and at most so many, so that what is wanted
/// does not wait, and they do not become ever more.
const AT_ONCE: usize = 64;
const MOST_AT_ONCE: usize = 1_024;
