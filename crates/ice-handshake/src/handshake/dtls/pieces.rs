//! Reassembly of handshake messages that come in fragments (RFC 6347 §4.2.3), here called pieces.
//!
//! Pieces may be forged: those for one place are kept side by side, and a piece that comes is put together with those
//! that fit, the latest first. Only the content of the whole messages tells which one is the peer's.

use super::records::Message;

/// Pieces of messages that are not complete.
#[derive(Default)]
pub(super) struct Pieces {
    /// Pieces, the latest last.
    pieces: Vec<Piece>,
}

struct Piece {
    kind: u8,
    sequence: u16,
    /// Length of the whole message.
    length: usize,
    offset: usize,
    body: Vec<u8>,
    /// Number of times that it has come.
    times: u32,
}

/// Message put together from pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) body: Vec<u8>,
    /// Whether each of its pieces has come more than once, as when its sender repeats it.
    pub(super) again: bool,
}

impl Pieces {
    /// Adds a piece; returns the messages that it completes, at most [`WHOLES`].
    pub(super) fn add(&mut self, message: &Message<'_>) -> Vec<Whole> {
        let end = message.offset + message.body.len();
        if message.length > LARGEST || message.body.is_empty() || end > message.length {
            return Vec::new();
        }
        let same = |known: &Piece| {
            (known.kind, known.sequence, known.length, known.offset)
                == (message.kind, message.sequence, message.length, message.offset)
                && known.body == message.body
        };
        let known = self.pieces.iter().position(same).map(|at| self.pieces.remove(at));
        let piece = Piece {
            kind: message.kind,
            sequence: message.sequence,
            length: message.length,
            offset: message.offset,
            body: message.body.to_vec(),
            times: known.map_or(1, |known| known.times + 1),
        };
        let same_place = |known: &Piece| {
            (known.kind, known.sequence, known.length, known.offset)
                == (piece.kind, piece.sequence, piece.length, piece.offset)
        };
        // Pieces of one place make room for each other, so that a flood of one kind does not displace the others.
        if self.pieces.iter().filter(|known| same_place(known)).count() >= OF_A_PLACE {
            let oldest = self.pieces.iter().position(same_place).unwrap_or_default();
            self.pieces.remove(oldest);
        } else if self.pieces.len() >= PIECES {
            self.pieces.remove(0);
        }
        self.pieces.push(piece);
        let mut wholes = Vec::new();
        let mut steps = STEPS;
        let nothing = Whole { body: Vec::new(), again: true };
        self.put_together(nothing, false, &mut wholes, &mut steps);
        wholes
    }

    /// Returns whether there are several pieces for one place of this message.
    pub(super) fn is_contested(&self, message: &Message<'_>) -> bool {
        let of_it = |piece: &&Piece| {
            (piece.kind, piece.sequence, piece.length)
                == (message.kind, message.sequence, message.length)
        };
        let mut places: Vec<usize> =
            self.pieces.iter().filter(of_it).map(|piece| piece.offset).collect();
        places.sort_unstable();
        places.windows(2).any(|two| two[0] == two[1])
    }

    /// Puts together the messages that contain the latest piece.
    fn put_together(
        &self,
        so_far: Whole,
        has_latest: bool,
        wholes: &mut Vec<Whole>,
        steps: &mut usize,
    ) {
        let Some(latest) = self.pieces.last() else { return };
        let length = so_far.body.len();
        if length == latest.length {
            if has_latest {
                wholes.push(so_far);
            }
            return;
        }
        let fits = |piece: &&Piece| {
            (piece.kind, piece.sequence, piece.length)
                == (latest.kind, latest.sequence, latest.length)
                && piece.offset <= length
                && piece.offset + piece.body.len() > length
        };
        for piece in self.pieces.iter().rev().filter(fits) {
            if wholes.len() >= WHOLES || *steps == 0 {
                return;
            }
            *steps -= 1;
            let body = [&so_far.body, &piece.body[length - piece.offset..]].concat();
            let longer = Whole { body, again: so_far.again && piece.times > 1 };
            let is_latest = std::ptr::eq(piece, latest);
            self.put_together(longer, has_latest || is_latest, wholes, steps);
            if is_latest {
                // Every whole message contains the latest piece, so no other piece fits in its place.
                return;
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.pieces.len()
    }
}

/// Longest message in bytes. Chromium's ClientHello has 1.7 kB with a key share of ML-KEM-768; a chain of certificates
/// may have some more.
const LARGEST: usize = 8 << 10;
/// Pieces kept, of several messages at once; each forged datagram takes one.
const PIECES: usize = 48;
/// Pieces kept for one place.
const OF_A_PLACE: usize = 12;
/// Pieces of one datagram that are read: a stack cuts messages to fill datagrams, so there are one or two, and each
/// forged piece costs work.
pub(super) const IN_A_DATAGRAM: usize = 16;
/// Messages that one piece completes, at most.
pub(super) const WHOLES: usize = 12;
/// Pieces that are tried in putting messages together.
const STEPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(sequence: u16, length: usize, offset: usize, body: &[u8]) -> Message<'_> {
        Message { kind: 1, length, sequence, offset, body }
    }

    #[test]
    fn pieces_in_any_order_make_a_whole() {
        let whole: Vec<u8> = (0..3_000_usize).map(|at| at as u8).collect();
        let mut pieces = Pieces::default();
        assert!(pieces.add(&piece(1, 3_000, 2_000, &whole[2_000..])).is_empty());
        assert!(pieces.add(&piece(1, 3_000, 0, &whole[..1_200])).is_empty());
        // It overlaps with both other pieces.
        let wholes = pieces.add(&piece(1, 3_000, 1_000, &whole[1_000..2_100]));
        assert_eq!(wholes, [Whole { body: whole.clone(), again: false }]);
        pieces.add(&piece(1, 3_000, 0, &whole[..1_200]));
        pieces.add(&piece(1, 3_000, 2_000, &whole[2_000..]));
        let wholes = pieces.add(&piece(1, 3_000, 1_000, &whole[1_000..2_100]));
        assert_eq!(wholes, [Whole { body: whole, again: true }]);
    }

    #[test]
    fn among_forged_pieces_the_peers_own_make_a_whole() {
        let whole: Vec<u8> = (0..2_000_usize).map(|at| (at / 7) as u8).collect();
        let mut pieces = Pieces::default();
        for forged in 0..8 {
            assert!(pieces.add(&piece(0, 2_000, 1_000, &[forged; 1_000])).is_empty());
        }
        let spoilt = pieces.add(&piece(0, 2_000, 0, &whole[..1_000]));
        assert!(spoilt.len() == 8 && spoilt.iter().all(|spoilt| spoilt.body != whole));
        let found = pieces.add(&piece(0, 2_000, 1_000, &whole[1_000..]));
        assert!(found.iter().any(|found| found.body == whole));
    }

    #[test]
    fn pieces_without_end_cost_no_more_than_their_share() {
        let mut pieces = Pieces::default();
        for at in 0..1_000_usize {
            assert!(pieces.add(&piece(0, 8_000, at, &[at as u8; 100])).is_empty());
            assert!(pieces.add(&piece(0, 0xff_ffff, at, &[7; 900])).is_empty());
            assert!(pieces.add(&piece(0, 100, 90, &[7; 900])).is_empty());
        }
        assert_eq!(pieces.len(), PIECES);
    }
}
