//! Reassembly of handshake messages that come in fragments (RFC 6347 §4.2.3).
//!
//! Fragments may be forged: those for one place are kept side by side, and a fragment that comes is put together with
//! those that fit, the latest first. Only the content of the reassembled messages shows which one is the peer's.

use super::records::Message;

/// Fragments of messages that are not complete.
#[derive(Default)]
pub(super) struct Reassembly {
    /// Fragments, the latest last.
    fragments: Vec<Fragment>,
}

struct Fragment {
    kind: u8,
    sequence: u16,
    /// Length of the whole message.
    length: usize,
    offset: usize,
    body: Vec<u8>,
    /// Number of times that it has come.
    times: u32,
}

/// Message put together from fragments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reassembled {
    pub(super) body: Vec<u8>,
    /// Whether each of its fragments has come more than once, as when its sender repeats it.
    pub(super) again: bool,
}

impl Reassembly {
    /// Adds a fragment; returns the messages that it completes, at most [`MAX_REASSEMBLED`].
    pub(super) fn add(&mut self, message: &Message<'_>) -> Vec<Reassembled> {
        let end = message.offset + message.body.len();
        if message.length > MAX_LENGTH || message.body.is_empty() || end > message.length {
            return Vec::new();
        }
        let same = |known: &Fragment| {
            (known.kind, known.sequence, known.length, known.offset)
                == (message.kind, message.sequence, message.length, message.offset)
                && known.body == message.body
        };
        let known = self.fragments.iter().position(same).map(|at| self.fragments.remove(at));
        let fragment = Fragment {
            kind: message.kind,
            sequence: message.sequence,
            length: message.length,
            offset: message.offset,
            body: message.body.to_vec(),
            times: known.map_or(1, |known| known.times + 1),
        };
        let same_place = |known: &Fragment| {
            (known.kind, known.sequence, known.length, known.offset)
                == (fragment.kind, fragment.sequence, fragment.length, fragment.offset)
        };
        // Fragments of one place make room for each other, so that a flood of one kind does not displace the others.
        if self.fragments.iter().filter(|known| same_place(known)).count() >= PER_PLACE {
            let oldest = self.fragments.iter().position(same_place).unwrap_or_default();
            self.fragments.remove(oldest);
        } else if self.fragments.len() >= MAX_FRAGMENTS {
            self.fragments.remove(0);
        }
        self.fragments.push(fragment);
        let mut wholes = Vec::new();
        let mut steps = MAX_STEPS;
        let nothing = Reassembled { body: Vec::new(), again: true };
        self.put_together(nothing, false, &mut wholes, &mut steps);
        wholes
    }

    /// Returns whether there are several fragments for one place of this message.
    pub(super) fn is_contested(&self, message: &Message<'_>) -> bool {
        let of_it = |fragment: &&Fragment| {
            (fragment.kind, fragment.sequence, fragment.length)
                == (message.kind, message.sequence, message.length)
        };
        let mut places: Vec<usize> =
            self.fragments.iter().filter(of_it).map(|fragment| fragment.offset).collect();
        places.sort_unstable();
        places.windows(2).any(|two| two[0] == two[1])
    }

    /// Puts together the messages that contain the latest fragment.
    fn put_together(
        &self,
        so_far: Reassembled,
        has_latest: bool,
        wholes: &mut Vec<Reassembled>,
        steps: &mut usize,
    ) {
        let Some(latest) = self.fragments.last() else { return };
        let length = so_far.body.len();
        if length == latest.length {
            if has_latest {
                wholes.push(so_far);
            }
            return;
        }
        let fits = |fragment: &&Fragment| {
            (fragment.kind, fragment.sequence, fragment.length)
                == (latest.kind, latest.sequence, latest.length)
                && fragment.offset <= length
                && fragment.offset + fragment.body.len() > length
        };
        for fragment in self.fragments.iter().rev().filter(fits) {
            if wholes.len() >= MAX_REASSEMBLED || *steps == 0 {
                return;
            }
            *steps -= 1;
            let body = [&so_far.body, &fragment.body[length - fragment.offset..]].concat();
            let longer = Reassembled { body, again: so_far.again && fragment.times > 1 };
            let is_latest = std::ptr::eq(fragment, latest);
            self.put_together(longer, has_latest || is_latest, wholes, steps);
            if is_latest {
                // Every whole message contains the latest fragment, so no other fragment fits in its place.
                return;
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.fragments.len()
    }
}

/// Longest message in bytes. Chromium's ClientHello has 1.7 kB with a key share of ML-KEM-768; a chain of certificates
/// may have some more.
const MAX_LENGTH: usize = 8 << 10;
/// Fragments kept, of several messages at once; each forged datagram takes one.
const MAX_FRAGMENTS: usize = 48;
/// Fragments kept for one place.
const PER_PLACE: usize = 12;
/// Fragments of one datagram that are read: a stack cuts messages to fill datagrams, so there are one or two, and each
/// forged fragment costs work.
pub(super) const PER_DATAGRAM: usize = 16;
/// Messages that one fragment completes, at most.
pub(super) const MAX_REASSEMBLED: usize = 12;
/// Fragments that are tried in putting messages together.
const MAX_STEPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(sequence: u16, length: usize, offset: usize, body: &[u8]) -> Message<'_> {
        Message { kind: 1, length, sequence, offset, body }
    }

    #[test]
    fn fragments_in_any_order_make_a_message() {
        let whole: Vec<u8> = (0..3_000_usize).map(|at| at as u8).collect();
        let mut fragments = Reassembly::default();
        assert!(fragments.add(&fragment(1, 3_000, 2_000, &whole[2_000..])).is_empty());
        assert!(fragments.add(&fragment(1, 3_000, 0, &whole[..1_200])).is_empty());
        // It overlaps with both other fragments.
        let wholes = fragments.add(&fragment(1, 3_000, 1_000, &whole[1_000..2_100]));
        assert_eq!(wholes, [Reassembled { body: whole.clone(), again: false }]);
        fragments.add(&fragment(1, 3_000, 0, &whole[..1_200]));
        fragments.add(&fragment(1, 3_000, 2_000, &whole[2_000..]));
        let wholes = fragments.add(&fragment(1, 3_000, 1_000, &whole[1_000..2_100]));
        assert_eq!(wholes, [Reassembled { body: whole, again: true }]);
    }

    #[test]
    fn among_forged_fragments_the_peers_own_make_a_message() {
        let whole: Vec<u8> = (0..2_000_usize).map(|at| (at / 7) as u8).collect();
        let mut fragments = Reassembly::default();
        for forged in 0..8 {
            assert!(fragments.add(&fragment(0, 2_000, 1_000, &[forged; 1_000])).is_empty());
        }
        let spoilt = fragments.add(&fragment(0, 2_000, 0, &whole[..1_000]));
        assert!(spoilt.len() == 8 && spoilt.iter().all(|spoilt| spoilt.body != whole));
        let found = fragments.add(&fragment(0, 2_000, 1_000, &whole[1_000..]));
        assert!(found.iter().any(|found| found.body == whole));
    }

    #[test]
    fn fragments_without_end_cost_no_more_than_their_share() {
        let mut fragments = Reassembly::default();
        for at in 0..1_000_usize {
            assert!(fragments.add(&fragment(0, 8_000, at, &[at as u8; 100])).is_empty());
            assert!(fragments.add(&fragment(0, 0xff_ffff, at, &[7; 900])).is_empty());
            assert!(fragments.add(&fragment(0, 100, 90, &[7; 900])).is_empty());
        }
        assert_eq!(fragments.len(), MAX_FRAGMENTS);
    }
}
