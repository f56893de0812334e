//! Order in which a room has delivered messages of guests, as far as their nodes may send them again to another home.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytestring::ByteString;

use crate::link::{Batch, Tag};
use crate::peer_id::PeerId;

/// Messages of guests whose nodes may not know that they were handled: at most as many as a guest may have in flight.
#[derive(Debug, Default)]
pub(super) struct Tags {
    last: u64,
    /// Texts by their addresses and lengths. They are kept, so that no other text has the address.
    by_text: HashMap<(usize, usize), (ByteString, Tag)>,
    /// Texts in the order of their delivery.
    in_order: BTreeMap<u64, (usize, usize)>,
    by_peer: HashMap<PeerId, VecDeque<Tag>>,
}

impl Tags {
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the messages whose senders' nodes may not know that they were handled, in order.
    pub(super) fn all(&self) -> Vec<Tag> {
        let mut all: Vec<Tag> = self.by_peer.values().flatten().copied().collect();
        all.sort_unstable_by_key(|tag| tag.place);
        all
    }

    /// Goes on after tags of an earlier home.
    pub(super) fn follow(&mut self, place: u64) {
        self.last = self.last.max(place);
    }

    /// Tags a text that has come of a message.
    pub(super) fn tag(&mut self, text: ByteString, peer: PeerId, number: u64) {
        self.last += 1;
        let tag = Tag { place: self.last, peer, number };
        let key = key(&text);
        if self.by_text.insert(key, (text, tag)).is_none() {
            self.in_order.insert(tag.place, key);
            self.by_peer.entry(peer).or_default().push_back(tag);
        }
    }

    /// Notes that the node of a peer knows that its messages up to this number were handled.
    pub(super) fn settle(&mut self, peer: PeerId, number: u64) {
        let Some(tags) = self.by_peer.get_mut(&peer) else { return };
        while let Some(tag) = tags.front().copied().filter(|tag| tag.number <= number) {
            tags.pop_front();
            if let Some(key) = self.in_order.remove(&tag.place) {
                self.by_text.remove(&key);
            }
        }
        if tags.is_empty() {
            self.by_peer.remove(&peer);
        }
    }

    /// Adds the tags of these texts to a batch.
    pub(super) fn add_to(&self, texts: &[ByteString], batch: &mut Batch) {
        batch.settled = match self.in_order.first_key_value() {
            Some((first, _)) => first - 1,
            None => self.last,
        };
        if self.by_text.is_empty() {
            return;
        }
        let tagged = texts.iter().enumerate();
        let tagged =
            tagged.filter_map(|(place, text)| Some((place, self.by_text.get(&key(text))?.1)));
        batch.tags = tagged.collect();
    }
}

fn key(text: &ByteString) -> (usize, usize) {
    (text.as_ptr().addr(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_tagged_until_the_node_of_its_sender_knows_that_it_was_handled() {
        let (ann, bob, mut tags) = (PeerId::random(), PeerId::random(), Tags::default());
        let texts = ["one", "two", "three"].map(ByteString::from);
        tags.follow(10);
        tags.tag(texts[0].clone(), ann, 1);
        tags.tag(texts[1].clone(), bob, 1);
        tags.tag(texts[2].clone(), ann, 2);
        let batch = |tags: &Tags| {
            let mut batch = Batch::default();
            tags.add_to(&texts, &mut batch);
            let tagged: Vec<_> = batch.tags.iter().map(|(text, tag)| (*text, tag.place)).collect();
            (tagged, batch.settled)
        };

        assert_eq!(batch(&tags), (vec![(0, 11), (1, 12), (2, 13)], 10));
        tags.settle(ann, 1);
        assert_eq!(batch(&tags), (vec![(1, 12), (2, 13)], 11));
        tags.settle(ann, 2);
        assert_eq!(batch(&tags), (vec![(1, 12)], 11));
        tags.settle(bob, 1);
        assert_eq!(batch(&tags), (Vec::new(), 13));
        assert!(tags.by_text.is_empty() && tags.by_peer.is_empty());
    }
}
