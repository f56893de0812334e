//! Frame headers of the WebSocket protocol (RFC 6455 §5.2).

use super::FrameError;

/// Header of a frame, with the number of missing payload bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The frame is the last one of its message.
    pub(super) last: bool,
    /// Bytes of payload that have not arrived.
    pub(super) left: usize,
    /// The mask, rotated to the next byte of the payload.
    pub(super) mask: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn read(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte & OPCODE {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(FrameError::ReservedOpcode),
        })
    }
}

impl Header {
    /// The longest header: two bytes, a 64-bit length and the mask.
    pub(super) const MAX_SIZE: usize = 14;

    /// Reads a client's header, and returns it with its length in bytes; none while some bytes are missing. An error is
    /// reported as soon as the byte that shows it is there. `within`: a fragmented message is under way; `room`: how
    /// many bytes a data frame may have.
    pub(super) fn read(
        bytes: &[u8],
        within: bool,
        room: usize,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RESERVED & !NEGOTIATED != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = Opcode::read(first)?;
        let last = first & FIN != 0;
        match opcode {
            Opcode::Continuation if !within => return Err(FrameError::NothingToContinue),
            Opcode::Text | Opcode::Binary if within => return Err(FrameError::NotContinued),
            _ if opcode.is_control() && !last => return Err(FrameError::FragmentedControl),
            _ => {}
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & LENGTH;
        if opcode.is_control() && short > MAX_CONTROL {
            return Err(FrameError::LongControl);
        }
        if opcode == Opcode::Close && short == 1 {
            return Err(FrameError::HalfCloseCode);
        }
        let Some((length, size)) = length(short, &bytes[2..])? else { return Ok(None) };
        // A control frame uses nothing of its message's room.
        if !opcode.is_control() && length > room as u64 {
            return Err(FrameError::TooLarge);
        }
        let Some(mask) = bytes[2 + size..].first_chunk() else { return Ok(None) };
        let left = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
        Ok(Some((Self { opcode, last, left, mask: *mask }, 2 + size + mask.len())))
    }

    /// Returns the header after this many bytes of the payload.
    pub(super) fn after(mut self, bytes: usize) -> Self {
        self.left -= bytes;
        let turn = bytes % self.mask.len();
        self.mask.rotate_left(turn);
        self
    }
}

/// Reads the payload's length; returns it, and how many bytes it takes after the first seven bits.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let (length, size, shortest) = match short {
        SIXTEEN_BITS => match rest.first_chunk() {
            Some(bytes) => (u16::from_be_bytes(*bytes).into(), 2, u64::from(SIXTEEN_BITS)),
            None => return Ok(None),
        },
        SIXTY_FOUR_BITS => match rest.first_chunk() {
            _ if rest.first().is_some_and(|byte| byte & 0x80 != 0) => {
                return Err(FrameError::LengthTooLong);
            }
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, u64::from(u16::MAX) + 1),
            None => return Ok(None),
        },
        short => (short.into(), 0, 0),
    };
    if length < shortest {
        return Err(FrameError::LengthNotMinimal);
    }
    Ok(Some((length, size)))
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// Reserved bits that an agreed extension uses: none is agreed on.
const NEGOTIATED: u8 = 0;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const SIXTEEN_BITS: u8 = 126;
const SIXTY_FOUR_BITS: u8 = 127;
/// Length limit of a control frame's payload, in bytes (RFC 6455 §5.5).
const MAX_CONTROL: u8 = 125;
