//! Index of rooms by the peers that have memberships in them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::peer_id::PeerId;

/// Places by peer: each peer has one for each of its memberships. A place is a pointer to a room.
#[derive(Debug)]
pub(crate) struct PeerIndex<P>(Mutex<Places<P>>);

#[derive(Debug)]
struct Places<P> {
    first: HashMap<PeerId, P>,
    /// Further places of peers that have several, which a server's own peers never have.
    more: HashMap<PeerId, Vec<P>>,
}

impl<P: Clone + PartialEq> PeerIndex<P> {
    /// Adds a place of a peer.
    pub(crate) fn insert(&self, peer: PeerId, place: P) {
        let mut places = self.lock();
        match places.first.get(&peer) {
            None => _ = places.first.insert(peer, place),
            Some(_) => places.more.entry(peer).or_default().push(place),
        }
    }

    /// Removes a place of a peer, once if it was added several times.
    pub(crate) fn remove(&self, peer: PeerId, place: &P) {
        let mut places = self.lock();
        let Places { first, more } = &mut *places;
        let is_first = first.get(&peer) == Some(place);
        let Some(others) = more.get_mut(&peer) else {
            if is_first {
                first.remove(&peer);
            }
            return;
        };
        if is_first {
            first.extend(others.pop().map(|other| (peer, other)));
        } else if let Some(at) = others.iter().position(|other| other == place) {
            others.swap_remove(at);
        }
        if others.is_empty() {
            more.remove(&peer);
        }
    }

    /// Returns the places of a peer, in no particular order.
    pub(crate) fn places(&self, peer: PeerId) -> Vec<P> {
        let places = self.lock();
        let more = places.more.get(&peer).into_iter().flatten();
        places.first.get(&peer).into_iter().chain(more).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Places<P>> {
        // Nothing in it panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Default for PeerIndex<P> {
    fn default() -> Self {
        Self(Mutex::new(Places { first: HashMap::new(), more: HashMap::new() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_peer_has_the_places_that_were_added_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), 0_usize..3, 0_u8..3), 0..60)
        ) {
            let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
            let (index, mut model) = (PeerIndex::default(), vec![Vec::new(); 3]);

            for (is_added, peer, place) in steps {
                if is_added {
                    index.insert(peers[peer], place);
                    model[peer].push(place);
                } else {
                    index.remove(peers[peer], &place);
                    if let Some(at) = model[peer].iter().position(|other| *other == place) {
                        model[peer].remove(at);
                    }
                }
                for (peer, places) in peers.iter().zip(&mut model) {
                    let mut found = index.places(*peer);
                    found.sort_unstable();
                    places.sort_unstable();
                    prop_assert_eq!(&found, places);
                }
            }
            for (peer, places) in peers.iter().zip(&model) {
                places.iter().for_each(|place| index.remove(*peer, place));
            }
            let places = index.lock();
            prop_assert!(places.first.is_empty() && places.more.is_empty(), "nothing is kept");
        }
    }
}
