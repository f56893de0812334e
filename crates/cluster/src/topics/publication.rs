//! Binary format of publications.
//!
//! 2 (which is none of a line's), 1, the id (16 bytes), the length of the topic (1), the topic, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Publication as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    /// By which it is known if it comes twice.
    pub(super) id: Uuid,
    /// Empty if it is an announcement.
    pub(super) topic: Bytes,
    pub(super) message: Bytes,
}

impl Datagram {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(19 + self.topic.len() + self.message.len());
        out.put_slice(&[FORMAT, PUBLICATION]);
        out.put_slice(self.id.as_bytes());
        out.put_u8(u8::try_from(self.topic.len()).expect("topics are short"));
        out.put_slice(&self.topic);
        out.put_slice(&self.message);
        out.freeze()
    }

    /// Reads a publication; none if it is malformed.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if (bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?) != (FORMAT, PUBLICATION) {
            return None;
        }
        let id = Uuid::from_u128(bytes.try_get_u128().ok()?);
        let topic = usize::from(bytes.try_get_u8().ok()?);
        if bytes.len() < topic {
            return None;
        }
        let topic = bytes.split_to(topic);
        (bytes.len() <= MAX_MESSAGE).then_some(Self { id, topic, message: bytes })
    }
}

/// First byte of a publication.
pub(crate) const FORMAT: u8 = 2;
/// Longest message, in bytes.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
const PUBLICATION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as version 1 has them: they never change.
    #[test]
    fn a_publication_is_written_and_read_as_it_was_by_the_first_version() {
        let golden: &[u8] =
            b"\x02\x01\x6f\x1e\x2b\x0a\x3c\x7d\x4f\x10\x9b\x51\x0a\x4d\xe8\xf1\xc0\x01\x04newshi";
        let datagram = Datagram {
            id: Uuid::from_u128(0x6f1e_2b0a_3c7d_4f10_9b51_0a4d_e8f1_c001),
            topic: Bytes::from_static(b"news"),
            message: Bytes::from_static(b"hi"),
        };
        assert_eq!(datagram.encode(), golden);
        assert_eq!(Datagram::decode(Bytes::from_static(golden)), Some(datagram));
        for length in 0..golden.len() - 2 {
            assert_eq!(Datagram::decode(Bytes::from_static(&golden[..length])), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(mut bytes: Vec<u8>) {
            if bytes.len() > 1 {
                (bytes[0], bytes[1]) = (FORMAT, PUBLICATION);
            }
            if let Some(datagram) = Datagram::decode(bytes.clone().into()) {
                prop_assert_eq!(&datagram.encode()[..], &bytes[..]);
            }
        }
    }
}
