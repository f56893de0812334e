//! Handshake messages in the clear that have been received, and not yet accepted.

use std::collections::VecDeque;

use bytes::Bytes;

use super::CertificateCheck;
use super::reassembly::{MAX_REASSEMBLED, PER_DATAGRAM, Reassembly};
use super::records::{Record, as_datagram, records, whole_message};

/// Handshake message of an unproven sender.
#[derive(Clone, Debug)]
pub(super) struct UnprovenMessage {
    pub(super) kind: u8,
    pub(super) sequence: u16,
    pub(super) body: Bytes,
    /// Number of the datagram with which it (or its last fragment) came.
    pub(super) arrival: u64,
    /// Number of times that it has come.
    pub(super) times: u32,
}

impl UnprovenMessage {
    /// Returns the message as it is hashed.
    pub(super) fn message(&self) -> Vec<u8> {
        whole_message(self.kind, self.sequence, &self.body)
    }

    pub(super) fn datagram(&self) -> Bytes {
        as_datagram(self.kind, self.sequence, &self.body)
    }

    /// Returns its distance from this datagram: the flight of a peer comes at once, so a nearer message more likely
    /// belongs to it. A message after the datagram counts as nearer than one before it.
    pub(super) fn distance(&self, arrival: u64) -> u64 {
        match self.arrival.checked_sub(arrival) {
            Some(0) => 0,
            Some(behind) => 2 * behind - 1,
            None => 2 * (arrival - self.arrival),
        }
    }
}

/// Latest messages of each kind.
#[derive(Default)]
pub(super) struct Store {
    messages: VecDeque<UnprovenMessage>,
    fragments: Reassembly,
    arrivals: u64,
}

impl Store {
    /// Takes those messages of a datagram that are wanted, by kind and number; returns the messages that are whole now.
    /// Of a kind, only the first whole message counts: no peer puts two into one datagram, and each may cost
    /// verifications.
    pub(super) fn add(
        &mut self,
        datagram: &[u8],
        wanted: impl Fn(u8, u16) -> bool,
    ) -> Vec<UnprovenMessage> {
        self.arrivals += 1;
        let mut found: Vec<UnprovenMessage> = Vec::new();
        let mut fragments = 0;
        for message in records(datagram).flat_map(Record::messages) {
            fragments += usize::from(!message.is_whole());
            let enough = if message.is_whole() { 1 } else { MAX_REASSEMBLED };
            let so_far = found.iter().filter(|known| known.kind == message.kind).count();
            if so_far >= enough
                || fragments > PER_DATAGRAM
                || !wanted(message.kind, message.sequence)
            {
                continue;
            }
            let bodies = if message.is_whole() {
                vec![message.body.to_vec()]
            } else {
                self.fragments.add(&message).into_iter().map(|whole| whole.body).collect()
            };
            for body in bodies.into_iter().filter(|body| body.len() <= LARGEST) {
                found.push(self.keep(message.kind, message.sequence, body.into()));
            }
        }
        found
    }

    fn keep(&mut self, kind: u8, sequence: u16, body: Bytes) -> UnprovenMessage {
        let same = |known: &UnprovenMessage| {
            (known.kind, known.sequence) == (kind, sequence) && known.body == body
        };
        let times = match self.messages.iter().position(same) {
            Some(at) => self.messages.remove(at).map_or(0, |known| known.times),
            None => 0,
        };
        if self.of(kind).count() >= OF_A_KIND
            && let Some(oldest) = self.messages.iter().position(|known| known.kind == kind)
        {
            self.messages.remove(oldest);
        }
        let message =
            UnprovenMessage { kind, sequence, body, arrival: self.arrivals, times: times + 1 };
        self.messages.push_back(message.clone());
        message
    }

    pub(super) fn of(&self, kind: u8) -> impl Iterator<Item = &UnprovenMessage> {
        self.messages.iter().filter(move |known| known.kind == kind)
    }

    /// Returns the messages of this kind, the nearest to this datagram first.
    pub(super) fn nearest(&self, kind: u8, arrival: u64) -> Vec<UnprovenMessage> {
        let mut found: Vec<UnprovenMessage> = self.of(kind).cloned().collect();
        found.sort_by_key(|known| known.distance(arrival));
        found
    }
}

/// Returns the first certificate of a Certificate message (RFC 5246 §7.4.2): its sender's own.
pub(super) fn leaf(body: &[u8]) -> Option<&[u8]> {
    let length = body.get(3..6)?;
    let length =
        usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
    body.get(6..6 + length).filter(|leaf| !leaf.is_empty())
}

/// Choice of the candidates that are worth the verification of a signature: all near ones, until many have failed.
#[derive(Default)]
pub(super) struct Checks {
    failed: u32,
    strangers: u32,
}

impl Checks {
    /// Returns how many of the nearest messages of each kind to try: a flight comes at once, so few come in between.
    pub(super) fn nearest(&self) -> usize {
        if self.failed < MANY { 3 } else { 1 }
    }

    pub(super) fn note_failure(&mut self) {
        self.failed += 1;
    }

    #[cfg(test)]
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// Chooses the certificates to try. One with a wrong fingerprint is tried now and then: only a peer that has read
    /// what we send can sign with it, so the peer's application has signaled another fingerprint, which should be found
    /// out.
    pub(super) fn choose(
        &mut self,
        certificates: Vec<UnprovenMessage>,
        is_acceptable: CertificateCheck<'_>,
    ) -> Vec<UnprovenMessage> {
        let (mut expected, strange): (Vec<UnprovenMessage>, Vec<UnprovenMessage>) = certificates
            .into_iter()
            .filter(|certificate| leaf(&certificate.body).is_some())
            .partition(|certificate| leaf(&certificate.body).is_some_and(is_acceptable));
        expected.truncate(self.nearest());
        if let Some(stranger) = strange.into_iter().next() {
            self.strangers += 1;
            // The longer it has been going on, the rarer the tries: a certificate that the peer repeats gets its turn.
            if self.strangers <= MANY || self.strangers.is_multiple_of(ONE_IN) {
                expected.push(stranger);
            }
        }
        expected
    }
}

/// Messages kept of a kind: at a thousand a second, as many as come within a few retransmissions of a near peer.
const OF_A_KIND: usize = 16;
/// Longest message in bytes: no peer sends longer ones.
const LARGEST: usize = 8 << 10;
/// Failed verifications after which they get rarer; below it, how rare.
const MANY: u32 = 100;
const ONE_IN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_the_latest_stay() {
        let mut store = Store::default();
        for number in 0..40_u8 {
            store.add(&as_datagram(13, 3, &[number]), |_, _| true);
            store.add(&as_datagram(14, 4, &[]), |_, _| true);
        }
        let nearest = store.nearest(13, 77);
        assert_eq!(nearest.len(), OF_A_KIND);
        assert_eq!(nearest[0].body, [38][..]);
        assert_eq!(nearest[1].body, [39][..]);
        assert_eq!(store.nearest(14, 1)[0].times, 40);
        assert!(store.add(&as_datagram(13, 3, &[1]), |_, sequence| sequence == 4).is_empty());
    }

    #[test]
    fn of_a_datagram_one_message_of_a_kind_counts_and_a_few_fragments() {
        let mut store = Store::default();
        let datagram: Vec<u8> = (0..200_u8)
            .flat_map(|number| [as_datagram(12, 2, &[number]), as_datagram(14, 3, &[])].concat())
            .collect();
        let found = store.add(&datagram, |_, _| true);
        assert_eq!(found.iter().map(|known| known.kind).collect::<Vec<_>>(), [12, 14]);

        // Halves of certificates, all at one place, and then the other half.
        let fragment = |offset: u8, byte: u8| {
            let mut fragment = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13];
            fragment.extend([11, 0, 0, 2, 0, 1, 0, 0, offset, 0, 0, 1, byte]);
            fragment
        };
        let halves: Vec<u8> = (0..200).flat_map(|byte| fragment(0, byte)).collect();
        assert!(store.add(&halves, |_, _| true).is_empty());
        let found = store.add(&fragment(1, 7), |_, _| true);
        assert!(found.len() == MAX_REASSEMBLED && found[0].body == [15, 7][..], "{found:?}");
    }

    #[test]
    fn a_leaf_is_the_first_of_a_chain() {
        assert_eq!(leaf(&[0, 0, 9, 0, 0, 2, 7, 8, 0, 0, 1, 9]), Some(&[7, 8][..]));
        for bad in [&[0, 0, 0][..], &[0, 0, 3, 0, 0, 0], &[0, 0, 9, 0, 0, 9, 1]] {
            assert_eq!(leaf(bad), None);
        }
    }
}
