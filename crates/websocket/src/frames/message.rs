//! Assembly of messages from fragments and pieces of frames.

use super::{Frame, FrameError};

/// A message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    /// None for a binary message, which is not kept.
    text: Option<Text>,
    size: usize,
    /// Number of its bytes that have been reported.
    told: usize,
}

/// Text whose end has not arrived.
#[derive(Debug, Default)]
struct Text {
    /// Complete code points.
    whole: String,
    /// Start of the next code point.
    begun: Vec<u8>,
}

impl Assembly {
    pub(super) fn new(is_text: bool) -> Self {
        Self { text: is_text.then(Text::default), size: 0, told: 0 }
    }

    /// Returns how many bytes have arrived.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns how many bytes of it are held.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.whole.len() + text.begun.len())
    }

    /// Returns how many of its bytes have not been reported.
    pub(super) fn wake_ups(&self) -> usize {
        self.size - self.told
    }

    /// Marks all bytes so far as reported; returns how many that adds.
    pub(super) fn tell(&mut self) -> usize {
        self.size - std::mem::replace(&mut self.told, self.size)
    }

    /// Appends masked payload.
    pub(super) fn extend(&mut self, payload: &[u8], mask: [u8; 4]) -> Result<(), FrameError> {
        self.size += payload.len();
        self.text.as_mut().map_or(Ok(()), |text| text.extend(payload, mask))
    }

    /// Returns the message, after its last frame has ended.
    pub(super) fn finish(self) -> Result<Frame, FrameError> {
        match self.text {
            Some(Text { whole, begun }) if begun.is_empty() => {
                Ok(Frame::Text { text: whole.into(), counted: self.told })
            }
            Some(_) => Err(FrameError::NotUtf8),
            None => Ok(Frame::Binary { bytes: self.size - self.told }),
        }
    }
}

impl Text {
    /// Appends masked payload. Each byte is checked once, as soon as it is there.
    fn extend(&mut self, payload: &[u8], mask: [u8; 4]) -> Result<(), FrameError> {
        let old = self.begun.len();
        self.begun.extend_from_slice(payload);
        apply_mask(&mut self.begun[old..], mask);
        let end = self.begun.len() - unfinished(&self.begun);
        let whole = std::str::from_utf8(&self.begun[..end]).map_err(|_| FrameError::NotUtf8)?;
        self.whole.push_str(whole);
        // Its capacity is kept for the next piece: an allocation between two growths of the text would make the text
        // move.
        self.begun.drain(..end);
        match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_some() => Err(FrameError::NotUtf8),
            _ => Ok(()),
        }
    }
}

/// Returns how many bytes at the end belong to an incomplete code point, by its first byte (RFC 3629 §3).
fn unfinished(bytes: &[u8]) -> usize {
    for (behind, byte) in bytes.iter().rev().take(3).enumerate() {
        let size = match byte {
            0x80..0xc0 => continue,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
            _ => 1,
        };
        return if size > behind + 1 { behind + 1 } else { 0 };
    }
    0
}

/// Reads the payload of a close frame (RFC 6455 §5.5.1).
pub(super) fn close_reason(payload: &[u8]) -> Result<Option<(u16, String)>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::HalfCloseCode) };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 §7.4; 1012 to 1014 were registered later.
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
