//! VP8 in RTP (RFC 7741): the fields of a payload that a forwarder reads.

/// Fields of a VP8 payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vp8Payload {
    /// Whether a partition of a frame begins here, and it is the first of its frame.
    pub(crate) frame_start: bool,
    /// Whether the frame is a key frame; known in its first packet alone.
    pub(crate) keyframe: bool,
    /// Width and height of a key frame in pixels, in its first packet.
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) picture_id: Option<PictureId>,
    /// Running number of the frames of the lowest temporal layer (TL0PICIDX).
    pub(crate) tl0: Option<u8>,
    /// Temporal layer; 0 if there is none.
    pub(crate) temporal: u8,
    /// Whether the frame refers to frames of the lowest temporal layer alone, so that a receiver can begin its layer
    /// here (the Y bit).
    pub(crate) layer_sync: bool,
    /// Whether no other frame refers to this one (the N bit).
    pub(crate) discardable: bool,
    /// Length of the descriptor in bytes: the frame's own follow.
    pub(crate) descriptor: usize,
}

/// Picture id of a frame; its width is the sender's choice, and may not change on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureId {
    pub(crate) value: u16,
    /// 7 or 15.
    pub(crate) bits: u8,
}

/// Error of a payload that ends within its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the VP8 payload is cut short")]
pub(crate) struct Vp8Error;

/// Reads the descriptor of a payload (§4.2), and the header of the frame (§4.3) where one begins.
pub(crate) fn parse(payload: &[u8]) -> Result<Vp8Payload, Vp8Error> {
    let mut rest = payload;
    let mut next = || {
        let (&byte, after) = rest.split_first().ok_or(Vp8Error)?;
        rest = after;
        Ok(byte)
    };
    let first = next()?;
    let extended = first & 0x80 != 0;
    let mut read = Vp8Payload {
        // S is set, and the partition index is 0.
        frame_start: first & 0x17 == 0x10,
        discardable: first & 0x20 != 0,
        ..Vp8Payload::default()
    };
    if extended {
        let fields = next()?;
        if fields & 0x80 != 0 {
            let high = next()?;
            read.picture_id = Some(if high & 0x80 != 0 {
                PictureId { value: u16::from(high & 0x7f) << 8 | u16::from(next()?), bits: 15 }
            } else {
                PictureId { value: u16::from(high), bits: 7 }
            });
        }
        if fields & 0x40 != 0 {
            read.tl0 = Some(next()?);
        }
        if fields & 0x30 != 0 {
            let layers = next()?;
            if fields & 0x20 != 0 {
                read.temporal = layers >> 6;
                read.layer_sync = layers & 0x20 != 0;
            }
        }
    }
    read.descriptor = payload.len() - rest.len();
    if read.frame_start {
        // The P bit is 0 in a key frame.
        read.keyframe = rest.first().is_some_and(|first| first & 1 == 0);
        if read.keyframe
            && let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = rest
        {
            // The upper two bits are scaling (RFC 6386 §9.1).
            let size = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
            read.size = Some((size(w0, w1), size(h0, h1)));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First bytes of a key frame of 640 × 360.
    const KEY: [u8; 10] = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];

    fn payload(descriptor: &[u8], frame: &[u8]) -> Vec<u8> {
        [descriptor, frame].concat()
    }

    #[test]
    fn the_shortest_descriptor_is_one_byte() {
        let read = parse(&payload(&[0x10], &KEY)).unwrap();

        assert!(read.frame_start && read.keyframe && !read.discardable);
        assert_eq!((read.size, read.picture_id, read.tl0), (Some((640, 360)), None, None));
    }

    #[test]
    fn all_fields_of_the_descriptor_are_read() {
        // X and N and S; I, L, T and K; picture id 0x1234 in 15 bits; TL0PICIDX 9; TID 2, Y, KEYIDX 3.
        let read = parse(&payload(&[0xb0, 0xf0, 0x92, 0x34, 9, 0xa3], &[1])).unwrap();

        assert_eq!(
            read,
            Vp8Payload {
                frame_start: true,
                keyframe: false,
                size: None,
                picture_id: Some(PictureId { value: 0x1234, bits: 15 }),
                tl0: Some(9),
                temporal: 2,
                layer_sync: true,
                discardable: true,
                descriptor: 6,
            }
        );
    }

    #[test]
    fn a_short_picture_id_stays_short() {
        let read = parse(&[0x90, 0x80, 0x7f, 1]).unwrap();

        assert_eq!(read.picture_id, Some(PictureId { value: 0x7f, bits: 7 }));
    }

    #[test]
    fn only_the_first_partition_begins_a_frame() {
        assert!(!parse(&payload(&[0x11], &KEY)).unwrap().frame_start, "another partition");
        assert!(!parse(&payload(&[0x00], &KEY)).unwrap().keyframe, "the middle of a partition");
    }

    #[test]
    fn a_key_index_alone_is_no_temporal_layer() {
        let read = parse(&[0x90, 0x10, 0xff, 1]).unwrap();

        assert_eq!((read.temporal, read.layer_sync), (0, false));
    }

    #[test]
    fn a_descriptor_that_is_cut_short_is_an_error() {
        for cut in
            [&[][..], &[0x90], &[0x90, 0x80], &[0x90, 0x80, 0x80], &[0x90, 0x40], &[0x90, 0x20]]
        {
            assert_eq!(parse(cut), Err(Vp8Error), "{cut:?}");
        }
        assert!(parse(&[0x10]).is_ok(), "an empty frame is one");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            _ = parse(&bytes);
        }
    }
}
