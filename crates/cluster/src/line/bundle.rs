//! Bundles: datagrams of lines to one node that travel together, as one datagram of the wire.
//!
//! A byte with the format (4), then for each datagram its length (4 bytes, big-endian) and its bytes. A datagram that
//! is alone travels as it is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::datagram::{Datagram, DatagramError};

/// First byte of a bundle.
pub(crate) const FORMAT: u8 = 4;

/// Packs datagrams to one node, in order, into as few as there may be.
pub(super) fn pack(datagrams: &[Bytes]) -> Vec<Bytes> {
    let mut packed = Vec::with_capacity(1);
    let mut rest = datagrams;
    while let Some(first) = rest.first() {
        let (mut count, mut bytes) = (1, 1 + LENGTH + first.len());
        for next in &rest[1..] {
            if bytes + LENGTH + next.len() > MAX_BUNDLE {
                break;
            }
            bytes += LENGTH + next.len();
            count += 1;
        }
        let (these, later) = rest.split_at(count);
        rest = later;
        if let [alone] = these {
            packed.push(alone.clone());
            continue;
        }
        let mut bundle = BytesMut::with_capacity(bytes);
        bundle.put_u8(FORMAT);
        for datagram in these {
            bundle.put_u32(u32::try_from(datagram.len()).expect("datagrams are short"));
            bundle.put_slice(datagram);
        }
        packed.push(bundle.freeze());
    }
    packed
}

/// Reads what has come over the wire: a datagram, or a bundle of some. What follows an error is not read.
pub(super) fn unpack(mut bytes: Bytes) -> impl Iterator<Item = Result<Datagram, DatagramError>> {
    let is_bundle = bytes.first() == Some(&FORMAT);
    if is_bundle {
        bytes.advance(1);
    }
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let mut bytes = rest.take()?;
        if !is_bundle {
            return Some(Datagram::decode(bytes));
        }
        if bytes.is_empty() {
            return None;
        }
        let datagram = bytes
            .try_get_u32()
            .ok()
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= bytes.len())
            .map(|length| bytes.split_to(length));
        let read = datagram.ok_or(DatagramError::Short).and_then(Datagram::decode);
        rest = read.is_ok().then_some(bytes);
        Some(read)
    })
}

/// Bytes before each datagram of a bundle.
const LENGTH: usize = 4;
/// Bytes of a bundle, at most: so that small frames do not wait for the whole of a large one on their way.
const MAX_BUNDLE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::line::datagram::{Frame, Kind};

    fn frame(number: u64, bytes: usize) -> Datagram {
        let (service, body) = (Bytes::from_static(b"test"), Bytes::from(vec![7; bytes]));
        Datagram { from: 1, to: 2, kind: Kind::Frame(Frame { number, ack: 3, service, body }) }
    }

    #[test]
    fn small_datagrams_travel_together_and_one_by_itself_as_it_is() {
        let both = [frame(1, 0).encode(), Datagram { from: 1, to: 2, kind: Kind::Close }.encode()];

        let packed = pack(&both);

        let length = both[0].len() as u8;
        let expected = [&[4, 0, 0, 0, length][..], &both[0], &[0, 0, 0, 18], &both[1]].concat();
        assert_eq!(packed, [expected]);
        assert_eq!(pack(&both[..1]), both[..1]);
        assert!(pack(&[]).is_empty());
    }

    #[test]
    fn what_is_cut_off_costs_what_follows_it_alone() {
        let packed = pack(&[frame(1, 5).encode(), frame(2, 5).encode()]).remove(0);

        let read: Vec<_> = unpack(packed.slice(..packed.len() - 1)).collect();
        assert_eq!(read, [Ok(frame(1, 5)), Err(DatagramError::Short)]);

        // A bundle in a bundle is none.
        let nested = [&[4, 0, 0, 0, packed.len() as u8][..], &packed].concat();
        let read: Vec<_> = unpack(Bytes::from(nested)).collect();
        assert_eq!(read, [Err(DatagramError::Version(4))]);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_in_order(
            sizes in proptest::collection::vec(prop_oneof![0..200_usize, 0..70_000_usize], 0..20),
        ) {
            let sent: Vec<_> = (1..).zip(sizes).map(|(number, size)| frame(number, size)).collect();
            let encoded: Vec<_> = sent.iter().map(Datagram::encode).collect();

            let packed = pack(&encoded);

            let longest = encoded.iter().map(Bytes::len).max().unwrap_or_default();
            prop_assert!(packed.iter().all(|bytes| bytes.len() <= longest.max(MAX_BUNDLE)));
            let read: Result<Vec<_>, _> = packed.into_iter().flat_map(unpack).collect();
            prop_assert_eq!(read, Ok(sent));
        }

        #[test]
        fn no_bundle_panics(mut bytes in proptest::collection::vec(any::<u8>(), 1..80)) {
            bytes[0] = FORMAT;
            unpack(Bytes::from(bytes)).for_each(drop);
        }
    }
}
