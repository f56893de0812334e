//! H.264 in RTP (RFC 6184): where frames begin, and from which packet a decoder can start.

/// Fields of an H.264 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct H264Payload {
    /// Whether a NAL unit begins here; with the marker of the packet before it, a frame does.
    pub(crate) unit_start: bool,
    /// Whether a decoder can start here: a sequence parameter set, which senders put before each key frame.
    pub(crate) parameters: bool,
    /// Whether a picture that refers to no other begins here (IDR).
    pub(crate) idr: bool,
    /// Whether no other picture refers to what the packet contains (nal_ref_idc 0).
    pub(crate) discardable: bool,
}

/// Error of a payload that ends within its headers, or of an unknown packetization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the H.264 payload is malformed")]
pub(crate) struct H264Error;

/// Reads a payload: a single NAL unit (§5.6), an aggregation packet (STAP-A, §5.7.1) or a fragment (FU-A, §5.8).
pub(crate) fn parse(payload: &[u8]) -> Result<H264Payload, H264Error> {
    let (&first, rest) = payload.split_first().ok_or(H264Error)?;
    let mut read = H264Payload { discardable: first & 0x60 == 0, ..H264Payload::default() };
    match first & 0x1f {
        unit @ 1..=23 => read.begins(unit),
        STAP_A => {
            let mut rest = rest;
            while !rest.is_empty() {
                let (length, after) = rest.split_first_chunk().ok_or(H264Error)?;
                let length = usize::from(u16::from_be_bytes(*length));
                let unit = after.get(..length).ok_or(H264Error)?;
                read.begins(unit.first().ok_or(H264Error)? & 0x1f);
                rest = &after[length..];
            }
        }
        FU_A => {
            let header = rest.first().ok_or(H264Error)?;
            if header & 0x80 != 0 {
                read.begins(header & 0x1f);
            }
        }
        _ => return Err(H264Error),
    }
    Ok(read)
}

/// Part of a payload as a byte stream of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A unit begins, with this first byte.
    Begins(u8),
    /// More bytes of the unit.
    Bytes(&'a [u8]),
}

/// Calls `put` with the units of a payload that [`parse`] has read, in their order.
pub(crate) fn units<'a>(payload: &'a [u8], mut put: impl FnMut(Piece<'a>)) {
    let mut put_unit = |unit: &'a [u8]| {
        if let Some((&header, rest)) = unit.split_first() {
            put(Piece::Begins(header));
            put(Piece::Bytes(rest));
        }
    };
    let Some((&first, mut rest)) = payload.split_first() else { return };
    match first & 0x1f {
        STAP_A => {
            while let Some((length, after)) = rest.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
                put_unit(&after[..length]);
                rest = &after[length..];
            }
        }
        FU_A => {
            let Some((&header, rest)) = rest.split_first() else { return };
            if header & 0x80 != 0 {
                // The importance is of the payload's first byte, the type of its second (§5.8).
                put(Piece::Begins(first & 0xe0 | header & 0x1f));
            }
            put(Piece::Bytes(rest));
        }
        _ => put_unit(payload),
    }
}

impl H264Payload {
    fn begins(&mut self, unit: u8) {
        self.unit_start = true;
        self.idr |= unit == IDR;
        self.parameters |= unit == SPS;
    }
}

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_units_say_what_they_are() {
        let sps = parse(&[0x67, 1, 2]).unwrap();
        let idr = parse(&[0x65, 1, 2]).unwrap();
        let unused = parse(&[0x01, 1, 2]).unwrap();

        assert!(sps.unit_start && sps.parameters && !sps.idr && !sps.discardable);
        assert!(idr.unit_start && idr.idr && !idr.parameters);
        assert!(unused.unit_start && unused.discardable && !unused.idr);
    }

    #[test]
    fn an_aggregate_is_what_any_of_its_units_is() {
        let read = parse(&[0x78, 0, 2, 0x67, 9, 0, 1, 0x68, 0, 2, 0x65, 7]).unwrap();

        assert!(read.parameters && read.idr && read.unit_start);
    }

    #[test]
    fn only_the_first_fragment_begins_a_unit() {
        assert!(parse(&[0x7c, 0x85, 1]).unwrap().idr);
        let middle = parse(&[0x7c, 0x05, 1]).unwrap();

        assert!(!middle.idr && !middle.unit_start);
    }

    #[test]
    fn malformed_payloads_are_refused() {
        for bad in
            [&[][..], &[0x00], &[0x78, 0], &[0x78, 0, 3, 1], &[0x78, 0, 0], &[0x7c], &[0x79, 1]]
        {
            assert_eq!(parse(bad), Err(H264Error), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            _ = parse(&bytes);
        }
    }
}
