//! Redundant audio (RFC 2198): a packet with a frame of sound, and with copies of frames before it.

/// Newest frame of a payload, which stands last in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Primary<'a> {
    /// Payload type of the frame, on the connection of the payload.
    pub(crate) payload_type: u8,
    pub(crate) frame: &'a [u8],
}

/// Error of a payload whose blocks do not fit into it, or that has no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no blocks of redundant audio")]
pub(crate) struct MalformedRedError;

/// Returns the newest frame of a payload (RFC 2198 §3).
pub(crate) fn primary(payload: &[u8]) -> Result<Primary<'_>, MalformedRedError> {
    let (mut headers, mut copies) = (payload, 0);
    loop {
        match *headers {
            // The F bit: another header follows.
            [first, _, high, low, ref rest @ ..] if first & 0x80 != 0 => {
                copies += usize::from(high & 3) << 8 | usize::from(low);
                headers = rest;
            }
            [last, ref blocks @ ..] if last & 0x80 == 0 => {
                let frame = blocks.get(copies..).filter(|frame| !frame.is_empty());
                let frame = frame.ok_or(MalformedRedError)?;
                return Ok(Primary { payload_type: last, frame });
            }
            _ => return Err(MalformedRedError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the header of a copy of so many bytes.
    fn copy(length: u16) -> [u8; 4] {
        let [high, low] = length.to_be_bytes();
        [0x80 | 111, 0x0f, high, low]
    }

    #[test]
    fn the_newest_frame_stands_last() {
        assert_eq!(primary(&[111, 7, 8]), Ok(Primary { payload_type: 111, frame: &[7, 8] }));
        let two = [&copy(3)[..], &copy(1), &[111], &[1, 1, 1], &[2], &[3, 4]].concat();
        assert_eq!(primary(&two), Ok(Primary { payload_type: 111, frame: &[3, 4] }));
        let long = [&copy(1_023)[..], &[111], &[0; 1_023], &[9]].concat();
        assert_eq!(primary(&long), Ok(Primary { payload_type: 111, frame: &[9] }));
    }

    #[test]
    fn blocks_that_do_not_fit_are_no_frame() {
        let cut = [&copy(3)[..], &[111], &[1, 1]].concat();
        let no_frame = [&copy(2)[..], &[111], &[1, 1]].concat();
        for bad in [&[][..], &[111], &[0x80 | 111], &copy(0), &cut, &no_frame] {
            assert_eq!(primary(bad), Err(MalformedRedError), "{bad:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for first in 0..=255_u8 {
            for length in 0..8 {
                let bytes = vec![first; length];
                if let Ok(Primary { frame, .. }) = primary(&bytes) {
                    assert!(bytes.ends_with(frame));
                }
            }
        }
    }
}
