//! Framing of the stream from or to a TURN server (RFC 8656 §12.5): STUN messages, and channel data padded to multiples
//! of 4 bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Splitter of a stream into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

/// Error: the stream contains something other than STUN and channel data, so the next message boundary is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTurn;

impl Frames {
    /// Adds a piece of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message, without its padding, if all of it has arrived.
    pub(super) fn pop(&mut self) -> Result<Option<Bytes>, NotTurn> {
        let Some(header) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (length, padded) = match header[0] {
            0..0x40 if length.is_multiple_of(4) => (STUN_HEADER + length, STUN_HEADER + length),
            first if is_channel(first) => (CHANNEL_HEADER + length, padded(length)),
            _ => return Err(NotTurn),
        };
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let message = self.buffer.split_to(length).freeze();
        self.buffer.advance(padded - length);
        Ok(Some(message))
    }
}

/// Pads channel data for a stream; STUN messages need no padding.
pub(super) fn pad(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

fn padded(length: usize) -> usize {
    CHANNEL_HEADER + length.next_multiple_of(4)
}

/// Returns whether a message with this first byte is channel data: 0x4000–0x4FFF (RFC 8656 §12).
fn is_channel(first: u8) -> bool {
    matches!(first, 0x40..=0x4f)
}

/// Length of the header in bytes: type, length, cookie, transaction.
const STUN_HEADER: usize = 20;
/// Length of the header in bytes: number, length.
const CHANNEL_HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Longest STUN message in bytes.
    const LONGEST: usize = STUN_HEADER + u16::MAX as usize;

    fn message() -> impl Strategy<Value = Vec<u8>> {
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50)).prop_map(|(stun, body)| {
            let body = if stun { pad(body) } else { body };
            let mut message = if stun { vec![0, 1] } else { vec![0x40, 7] };
            message.extend((body.len() as u16).to_be_bytes());
            message.extend(if stun { vec![0; 16] } else { Vec::new() });
            message.extend(body);
            message
        })
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_were_however_the_stream_is_cut(
            messages in proptest::collection::vec(message(), 0..10),
            piece in 1_usize..80,
        ) {
            let stream: Vec<u8> = messages.iter().cloned().flat_map(pad).collect();
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in stream.chunks(piece) {
                frames.push(piece);
                while let Some(message) = frames.pop().unwrap() {
                    found.push(message.to_vec());
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn no_more_is_held_than_one_message_and_a_piece(
            first in prop_oneof![Just(0_u8), Just(0x40), any::<u8>()],
            length: u16,
            piece in 1_usize..4_096,
        ) {
            let [high, low] = length.to_be_bytes();
            let endless = [vec![first, 1, high, low], vec![first; 200_000]].concat();
            let mut frames = Frames::default();
            for bytes in endless.chunks(piece) {
                frames.push(bytes);
                while let Ok(Some(_)) = frames.pop() {}
                if frames.pop().is_err() {
                    break; // the connection ends
                }
                prop_assert!(frames.buffer.len() < LONGEST, "{} bytes are held", frames.buffer.len());
                let room = frames.buffer.capacity();
                prop_assert!(room < 2 * LONGEST, "there is room for {room} bytes");
            }
        }

        #[test]
        fn nothing_that_comes_is_a_panic(pieces: Vec<Vec<u8>>) {
            let mut frames = Frames::default();
            for piece in pieces {
                frames.push(&piece);
                while let Ok(Some(_)) = frames.pop() {}
            }
        }
    }
}
