//! ClientHellos that come in pieces: with a key share of ML-KEM one is larger than a datagram.
//!
//! What a hello offers decides about its engine, so it is put together before there is one. Pieces may be forged: those of
//! one place are kept side by side, and the latest is tried first; the client repeats its own.

use bytes::Bytes;

use super::records::{Message, Record, records};

/// Pieces of hellos that are not complete.
#[derive(Default)]
pub(super) struct Hellos {
    /// The latest last.
    pieces: Vec<Piece>,
}

#[derive(PartialEq, Eq)]
struct Piece {
    /// Of the whole message.
    length: usize,
    sequence: u16,
    offset: usize,
    body: Vec<u8>,
}

impl Hellos {
    /// The hello that this datagram completes, as one datagram. None of one that holds anything but pieces of a hello.
    pub(super) fn complete(&mut self, datagram: &Bytes) -> Option<Bytes> {
        let mut completed = None;
        for message in records(datagram).flat_map(Record::messages) {
            completed = self.add(&message).or(completed);
        }
        completed
    }

    fn add(&mut self, message: &Message<'_>) -> Option<Bytes> {
        if message.length > LARGEST_HELLO || message.body.is_empty() {
            return None;
        }
        let piece = Piece {
            length: message.length,
            sequence: message.sequence,
            offset: message.offset,
            body: message.body.to_vec(),
        };
        self.pieces.retain(|known| *known != piece);
        if self.pieces.len() >= PIECES {
            self.pieces.remove(0);
        }
        self.pieces.push(piece);
        self.put_together(message.sequence, message.length)
    }

    fn put_together(&self, sequence: u16, length: usize) -> Option<Bytes> {
        let mut body = Vec::with_capacity(length);
        while body.len() < length {
            let next = self.pieces.iter().rev().find(|piece| {
                (piece.sequence, piece.length) == (sequence, length)
                    && piece.offset <= body.len()
                    && piece.offset + piece.body.len() > body.len()
            })?;
            body.extend_from_slice(&next.body[body.len() - next.offset..]);
        }
        body.truncate(length);
        Some(as_datagram(sequence, &body))
    }
}

/// A hello in one record. Its number does not matter: records in the clear are not checked for it.
fn as_datagram(sequence: u16, body: &[u8]) -> Bytes {
    let length = (body.len() as u32).to_be_bytes();
    let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    datagram[9..11].copy_from_slice(&sequence.to_be_bytes());
    datagram.extend_from_slice(&((body.len() + 12) as u16).to_be_bytes());
    datagram.push(1);
    datagram.extend_from_slice(&length[1..]);
    datagram.extend_from_slice(&sequence.to_be_bytes());
    datagram.extend_from_slice(&[0, 0, 0]);
    datagram.extend_from_slice(&length[1..]);
    datagram.extend_from_slice(body);
    datagram.into()
}

/// Chromium's has 1.7 kB with a key share of ML-KEM-768; one of ML-KEM-1024 has some 400 bytes more.
const LARGEST_HELLO: usize = 8 << 10;
/// Of some hellos at once; each forged datagram takes one.
const PIECES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(sequence: u16, length: usize, offset: usize, body: &[u8]) -> Bytes {
        let bytes = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
        let mut packet = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend(((body.len() + 12) as u16).to_be_bytes());
        packet.push(1);
        packet.extend(bytes(length));
        packet.extend(sequence.to_be_bytes());
        packet.extend(bytes(offset));
        packet.extend(bytes(body.len()));
        packet.extend(body);
        packet.into()
    }

    fn body_of(datagram: &Bytes) -> Vec<u8> {
        records(datagram).flat_map(Record::messages).next().unwrap().body.to_vec()
    }

    #[test]
    fn pieces_in_any_order_make_a_whole() {
        let whole: Vec<u8> = (0..3_000_usize).map(|at| at as u8).collect();
        let mut hellos = Hellos::default();
        assert!(hellos.complete(&fragment(1, 3_000, 2_000, &whole[2_000..])).is_none());
        assert!(hellos.complete(&fragment(1, 3_000, 0, &whole[..1_200])).is_none());
        // It overlaps with both.
        let completed = hellos.complete(&fragment(1, 3_000, 1_000, &whole[1_000..2_100])).unwrap();
        assert_eq!(body_of(&completed), whole);
    }

    #[test]
    fn a_forged_piece_is_outdone_by_the_clients_own() {
        let whole = vec![7; 2_000];
        let mut hellos = Hellos::default();
        assert!(hellos.complete(&fragment(0, 2_000, 1_000, &[9; 1_000])).is_none());
        let spoilt = hellos.complete(&fragment(0, 2_000, 0, &whole[..1_000])).unwrap();
        assert_ne!(body_of(&spoilt), whole);
        let completed = hellos.complete(&fragment(0, 2_000, 1_000, &whole[1_000..])).unwrap();
        assert_eq!(body_of(&completed), whole);
    }

    #[test]
    fn pieces_without_end_cost_no_more_than_their_share() {
        let mut hellos = Hellos::default();
        for at in 0..1_000_usize {
            assert!(hellos.complete(&fragment(0, 8_000, at, &[at as u8; 100])).is_none());
            assert!(hellos.complete(&fragment(0, 0xff_ffff, at, &[7; 900])).is_none());
        }
        assert_eq!(hellos.pieces.len(), PIECES);
    }
}
