//! Packets of one stream in the order of their numbers: those that overtook others wait for them, for a while.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

/// Packets of one stream, put in order.
#[derive(Debug)]
pub(crate) struct Order<T> {
    /// Number of the next packet; none before the first one.
    next: Option<u64>,
    /// With their sizes in bytes.
    waiting: BTreeMap<u64, (T, usize)>,
    /// Bytes of those that wait.
    held: usize,
    /// When a packet was first seen to be missing.
    missing_since: Option<Instant>,
    /// The sender has begun anew.
    begun_anew: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    Packet(T),
    /// Packets are missing before the next one, and are given up.
    Gap,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        let (next, waiting, held, missing_since, begun_anew) = Default::default();
        Self { next, waiting, held, missing_since, begun_anew }
    }
}

impl<T> Order<T> {
    /// Adds a packet. One that comes a second time, or after it was given up, is dropped.
    pub(crate) fn push(&mut self, number: u64, packet: T, bytes: usize) {
        let next = *self.next.get_or_insert(number);
        if next.abs_diff(number) > FAR {
            // What waits is of its old numbers.
            self.waiting.clear();
            self.held = 0;
            (self.next, self.begun_anew) = (Some(number), true);
        } else if number < next {
            return;
        }
        if let Entry::Vacant(place) = self.waiting.entry(number) {
            place.insert((packet, bytes));
            self.held += bytes;
        }
    }

    /// Returns how many bytes wait.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Returns what comes next, if that is known at this time.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Next<T>> {
        if std::mem::take(&mut self.begun_anew) {
            return Some(Next::Gap);
        }
        let first = self.waiting.first_entry()?;
        let number = *first.key();
        if self.next == Some(number) {
            self.next = Some(number + 1);
            self.missing_since = None;
            let (packet, bytes) = first.remove();
            self.held -= bytes;
            return Some(Next::Packet(packet));
        }
        let since = *self.missing_since.get_or_insert(now);
        if self.waiting.len() <= MOST && now.saturating_duration_since(since) < PATIENCE {
            return None;
        }
        self.next = Some(number);
        Some(Next::Gap)
    }
}

/// Time that a missing packet may take to be sent again: the same as of a slow path and back.
const PATIENCE: Duration = Duration::from_millis(300);
/// Packets that wait at most: half a second of a video of 10 Mbit/s.
const MOST: usize = 512;
/// Distance of numbers from which a sender has begun anew: half of what 16 bits can tell.
const FAR: u64 = 1 << 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Returns what comes of these numbers, each 1 ms after the one before it; −1 for a gap.
    fn ordered(numbers: &[u64]) -> Vec<i64> {
        let (mut order, mut out, begin) = (Order::default(), Vec::new(), now());
        for (at, &number) in numbers.iter().enumerate() {
            order.push(number, number as i64, 1);
            assert_eq!(order.held(), order.waiting.len());
            let now = begin + Duration::from_millis(at as u64);
            while let Some(next) = order.poll(now) {
                out.push(if let Next::Packet(packet) = next { packet } else { -1 });
            }
        }
        out
    }

    #[test]
    fn packets_that_overtook_others_wait_for_them() {
        assert_eq!(ordered(&[7, 9, 10, 8, 11]), [7, 8, 9, 10, 11]);
        assert_eq!(ordered(&[7, 7, 8, 7]), [7, 8], "once");
    }

    #[test]
    fn a_lost_packet_is_given_up_and_not_taken_later() {
        let numbers: Vec<_> = [1].into_iter().chain(3..400).chain([2, 400]).collect();

        let out = ordered(&numbers);

        let expected: Vec<_> = [1, -1].into_iter().chain(3..=400).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed_after_a_gap() {
        let numbers = [1, 2, 100_000, 100_001, 0, 1];

        assert_eq!(ordered(&numbers), [1, 2, -1, 100_000, 100_001, -1, 0, 1]);
    }

    proptest! {
        #[test]
        fn any_order_within_the_patience_is_mended(
            swaps in proptest::collection::vec((0usize..199, 0usize..40), 0..60)
        ) {
            let mut numbers: Vec<u64> = (100..300).collect();
            for (at, distance) in swaps {
                // The first one stays: what comes before it is not waited for.
                let (one, other) = (at.max(1), (at + distance).clamp(1, 199));
                numbers.swap(one, other);
            }

            let out = ordered(&numbers);

            let packets: Vec<_> = out.iter().copied().filter(|&it| it != -1).collect();
            prop_assert_eq!(packets, (100..300).collect::<Vec<i64>>());
        }
    }
}
