//! Peers that have left as clients were told lately, though they may not know it: none of them comes again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::peer_id::PeerId;

/// Peers that were said to have left, for as long as one of them may still be offered to a room's next home: longer
/// than its node takes to notice that a home is dead, and to look for the next.
#[derive(Debug, Default)]
pub(crate) struct ToldLeft {
    since: HashMap<PeerId, Instant>,
    /// From the earliest on, with some that are forgotten.
    order: VecDeque<(Instant, PeerId)>,
}

impl ToldLeft {
    pub(crate) fn note(&mut self, peer: PeerId, now: Instant) {
        while let Some(&(at, first)) = self.order.front()
            && (!is_kept(at, now) || self.order.len() >= MOST)
        {
            self.order.pop_front();
            if self.since.get(&first) == Some(&at) {
                self.since.remove(&first);
            }
        }
        if let Entry::Vacant(entry) = self.since.entry(peer) {
            entry.insert(now);
            self.order.push_back((now, peer));
        }
    }

    /// Handles that a peer is there again, as another.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.since.remove(&peer);
    }

    pub(crate) fn contains(&self, peer: PeerId, now: Instant) -> bool {
        self.since.get(&peer).is_some_and(|at| is_kept(*at, now))
    }

    pub(crate) fn list(&self, now: Instant) -> impl Iterator<Item = PeerId> {
        self.since.iter().filter(move |(_, at)| is_kept(**at, now)).map(|(peer, _)| *peer)
    }
}

fn is_kept(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < KEPT
}

/// Time for which a peer that was said to have left may be offered: a node notices after 10 s that a line is silent,
/// and looks for the next home for up to 20 s.
const KEPT: Duration = Duration::from_secs(60);
/// Number of peers at most.
const MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn peers_are_kept_for_a_minute_and_no_more_than_some() {
        let (mut told, now) = (ToldLeft::default(), Instant::now());
        let [ann, bob] = [(); 2].map(|()| PeerId::random());
        told.note(ann, now);
        told.note(ann, now + KEPT / 2);
        told.note(bob, now + KEPT / 2);
        let list = |told: &ToldLeft, now| told.list(now).collect::<BTreeSet<_>>();

        assert_eq!(list(&told, now + KEPT / 2), BTreeSet::from([ann, bob]));
        assert_eq!(list(&told, now + KEPT), BTreeSet::from([bob]));
        assert!(told.contains(bob, now + KEPT) && !told.contains(ann, now + KEPT));
        told.forget(bob);
        assert_eq!(list(&told, now + KEPT / 2), BTreeSet::from([ann]));
        for _ in 0..MOST {
            told.note(PeerId::random(), now + KEPT / 2);
        }
        assert_eq!(list(&told, now + KEPT / 2).len(), MOST);
        assert!(!told.contains(ann, now + KEPT / 2));
    }
}
