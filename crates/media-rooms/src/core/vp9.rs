//! VP9 in RTP (RFC 9628): from which packet a decoder can start. All spatial and temporal layers of a stream are
//! forwarded together.

/// Fields of a VP9 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vp9Payload {
    /// Whether a picture that refers to no other begins here, with its lowest spatial layer.
    pub(crate) keyframe: bool,
    /// Width and height in pixels of the highest spatial layer, where the stream says them.
    pub(crate) size: Option<(u16, u16)>,
}

/// Error of a payload that ends within its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the VP9 payload is malformed")]
pub(crate) struct Vp9Error;

/// Reads a payload's descriptor (§4.2).
pub(crate) fn parse(payload: &[u8]) -> Result<Vp9Payload, Vp9Error> {
    let mut rest = payload;
    let first = next(&mut rest)?;
    let has = |bit: u8| first & bit != 0;
    let (predicted, flexible) = (has(P), has(F));
    if has(I) && next(&mut rest)? & MORE != 0 {
        next(&mut rest)?;
    }
    let mut spatial = 0;
    if has(L) {
        spatial = next(&mut rest)? >> 1 & 0b111;
        if !flexible {
            // TL0PICIDX.
            next(&mut rest)?;
        }
    }
    if flexible && predicted {
        for reference in 1.. {
            let is_last = next(&mut rest)? & 1 == 0;
            if is_last {
                break;
            }
            if reference == MOST_REFERENCES {
                return Err(Vp9Error);
            }
        }
    }
    let size = if has(V) { sizes(&mut rest)? } else { None };
    Ok(Vp9Payload { keyframe: has(B) && !predicted && spatial == 0, size })
}

/// Reads a scalability structure (§4.2.1), as far as the sizes of the spatial layers. Returns the last: the largest.
fn sizes(rest: &mut &[u8]) -> Result<Option<(u16, u16)>, Vp9Error> {
    let structure = next(rest)?;
    if structure & HAS_SIZES == 0 {
        return Ok(None);
    }
    let mut size = None;
    for _ in 0..=structure >> 5 {
        let mut pair = || Ok(u16::from_be_bytes([next(rest)?, next(rest)?]));
        size = Some((pair()?, pair()?));
    }
    Ok(size)
}

fn next(rest: &mut &[u8]) -> Result<u8, Vp9Error> {
    let (&byte, after) = rest.split_first().ok_or(Vp9Error)?;
    *rest = after;
    Ok(byte)
}

/// A picture id is there.
const I: u8 = 0x80;
/// Refers to other pictures.
const P: u8 = 0x40;
/// Layer indices are there.
const L: u8 = 0x20;
/// Flexible mode.
const F: u8 = 0x10;
/// A frame of one layer begins.
const B: u8 = 0x08;
/// A scalability structure is there.
const V: u8 = 0x02;
/// The picture id has 15 bits.
const MORE: u8 = 0x80;
/// The scalability structure says the layers' sizes.
const HAS_SIZES: u8 = 0x10;
/// References of a picture in flexible mode.
const MOST_REFERENCES: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_decoder_starts_where_the_lowest_layer_of_a_key_frame_begins() {
        let keyframe = |payload: &[u8]| parse(payload).unwrap().keyframe;

        assert!(keyframe(&[B]));
        assert!(keyframe(&[I | B, 0x12]));
        assert!(keyframe(&[I | L | B, 0x92, 0x34, 0b0000_0000, 7]), "15 bits, layers, TL0PICIDX");
        assert!(!keyframe(&[I | L | B, 0x12, 0b0000_0010, 7]), "the second spatial layer");
        assert!(!keyframe(&[0]), "in the middle of a frame");
        assert!(!keyframe(&[P | B]), "refers to others");
        assert!(!keyframe(&[P | F | B, 0b11, 0b11, 0b10]), "flexible mode");
    }

    #[test]
    fn the_size_is_that_of_the_largest_layer() {
        let two = [B | V, 1 << 5 | HAS_SIZES, 1, 64, 0, 180, 2, 128, 1, 104];
        assert_eq!(parse(&two).unwrap().size, Some((640, 360)));
        assert_eq!(parse(&[B | V, 0]).unwrap().size, None);
        assert_eq!(parse(&[B]).unwrap().size, None);
    }

    #[test]
    fn what_ends_within_its_descriptor_is_malformed() {
        for payload in [
            &[][..],
            &[I],
            &[I, 0x80],
            &[L],
            &[L, 0],
            &[P | F],
            &[P | F, 1, 1, 1, 0],
            &[V],
            &[V, HAS_SIZES, 1],
        ] {
            assert_eq!(parse(payload), Err(Vp9Error), "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(payload in prop::collection::vec(any::<u8>(), 0..24)) {
            _ = parse(&payload);
        }
    }
}
