//! Messages put together from fragments and pieces of frames.

use bytestring::ByteString;

use super::{Frame, FrameError};

/// A message that is under way.
#[derive(Debug)]
pub(super) struct Assembly {
    /// None: a binary one, which is not kept.
    text: Option<Text>,
    size: usize,
    /// How many of its bytes have been told.
    told: usize,
}

/// Text whose end has not come.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// How many of the bytes are whole code points.
    checked: usize,
}

impl Assembly {
    pub(super) fn new(is_text: bool) -> Self {
        Self { text: is_text.then(Text::default), size: 0, told: 0 }
    }

    /// How many bytes have come.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// How many bytes are kept of it.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.bytes.len())
    }

    /// How many of its bytes have not been told.
    pub(super) fn untold(&self) -> usize {
        self.size - self.told
    }

    /// All bytes so far count as told from now on; returns how many that adds.
    pub(super) fn tell(&mut self) -> usize {
        self.size - std::mem::replace(&mut self.told, self.size)
    }

    /// Takes what comes next, as it was masked.
    pub(super) fn extend(&mut self, payload: &[u8], mask: [u8; 4]) -> Result<(), FrameError> {
        self.size += payload.len();
        let Some(Text { bytes, checked }) = &mut self.text else { return Ok(()) };
        let old = bytes.len();
        bytes.extend_from_slice(payload);
        apply_mask(&mut bytes[old..], mask);
        match std::str::from_utf8(&bytes[*checked..]) {
            Ok(_) => *checked = bytes.len(),
            // A code point may go on in the next piece.
            Err(error) if error.error_len().is_none() => *checked += error.valid_up_to(),
            Err(_) => return Err(FrameError::NotUtf8),
        }
        Ok(())
    }

    /// The message, now that its last frame has ended.
    pub(super) fn finish(self) -> Result<Frame, FrameError> {
        match self.text {
            Some(Text { bytes, .. }) => {
                let text = ByteString::try_from(bytes).map_err(|_| FrameError::NotUtf8)?;
                Ok(Frame::Text { text, counted: self.told })
            }
            None => Ok(Frame::Binary { bytes: self.size - self.told }),
        }
    }
}

/// Reads the payload of a close frame (RFC 6455 §5.5.1).
pub(super) fn close_reason(payload: &[u8]) -> Result<Option<(u16, String)>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::HalfCloseCode) };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 §7.4; 1012 to 1014 were registered since.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::ReservedCloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
    Ok(Some((code, reason.to_owned())))
}

/// Unmasks a payload (RFC 6455 §5.3).
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from(u32::from_ne_bytes(mask));
    let wide = wide << 32 | wide;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
