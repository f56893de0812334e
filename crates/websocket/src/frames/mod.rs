//! WebSocket frame reader (RFC 6455 §5) without I/O.
//!
//! It takes a client's bytes as they arrive, and checks each at once: a header byte by byte, a length before the
//! payload, text by code point. It holds the received part of one message and one header, and no more even if a header
//! claims more; between two messages it holds nothing.

mod header;
mod message;
mod stream;

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use self::header::{Header, Opcode};
use self::message::{Assembly, apply_mask, close_reason};

pub(crate) use self::stream::Frames;

/// Reader of the frames of one client.
#[derive(Debug)]
pub(crate) struct Reader {
    max_message: usize,
    /// State that exists only within a message or a header.
    open: Option<Box<Open>>,
    /// A close frame or a violation has arrived: later input is ignored (RFC 6455 §5.5.1, §7.1.7).
    over: bool,
}

/// Complete and checked input of a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A text message, assembled from its fragments.
    Text {
        /// The message.
        text: ByteString,
        /// How many of its bytes were reported before, as [`Part`](Self::Part)s.
        counted: usize,
    },
    /// The end of a binary message; its content is not kept.
    Binary {
        /// How many of its bytes were not reported before.
        bytes: usize,
    },
    /// A fragment that is not the last, or a piece of a large frame.
    Part {
        /// Size of its payload.
        bytes: usize,
    },
    /// A ping, with the payload that its pong must have.
    Ping(Bytes),
    /// A pong of this size.
    Pong(usize),
    /// A close frame: code and reason, if it has any.
    Close(Option<(u16, String)>),
}

/// A violation of the WebSocket protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("reserved bits are set")]
    ReservedBits,
    #[error("reserved opcode")]
    ReservedOpcode,
    #[error("frame is not masked")]
    Unmasked,
    #[error("control frame is longer than 125 bytes")]
    LongControl,
    #[error("control frame is fragmented")]
    FragmentedControl,
    #[error("continuation without a message")]
    NothingToContinue,
    #[error("message inside a message")]
    NotContinued,
    #[error("length takes more bytes than it needs")]
    LengthNotMinimal,
    #[error("length is over 2^63")]
    LengthTooLong,
    #[error("close frame of one byte")]
    HalfCloseCode,
    #[error("reserved close code")]
    ReservedCloseCode,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("message too large")]
    TooLarge,
}

impl FrameError {
    /// Returns the code for closing the connection (RFC 6455 §7.4.1).
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}

/// An incomplete message or header.
#[derive(Debug, Default)]
struct Open {
    /// Start of a header.
    head: [u8; Header::MAX_SIZE],
    head_size: usize,
    /// Header of the frame whose payload is under way.
    frame: Option<Header>,
    /// Start of a control frame's payload.
    control: Vec<u8>,
    message: Option<Assembly>,
}

impl Open {
    fn is_unused(&self) -> bool {
        self.head_size == 0 && self.frame.is_none() && self.message.is_none()
    }
}

impl Reader {
    /// Creates a reader of messages of at most this many bytes, in one frame or several.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { max_message, open: None, over: false }
    }

    /// Reads from `input` until a frame is complete. Returns none when all of `input` was read, and more is needed.
    ///
    /// # Errors
    /// [`FrameError`], once; after it, as after a close frame, all input is dropped.
    pub(crate) fn read(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        let read = if self.over { Ok(None) } else { self.read_on(input) };
        if matches!(read, Err(_) | Ok(Some(Frame::Close(_)))) {
            self.over = true;
            self.open = None;
        }
        if self.over {
            input.clear();
        }
        read
    }

    /// Returns whether nothing more will be read.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns how many bytes of incomplete input are held.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.open.as_ref().map_or(0, |open| {
            let message = open.message.as_ref().map_or(0, Assembly::held);
            open.head_size + open.control.len() + message
        })
    }

    fn read_on(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        loop {
            let under_way = self.open.as_mut().and_then(|open| open.frame.take());
            let Some(header) = under_way.map_or_else(|| self.header(input), |it| Ok(Some(it)))?
            else {
                return Ok(None);
            };
            let mut here = header.left.min(input.len());
            if here < header.left {
                // Incomplete frames are reported in pieces, however much of them arrives at once.
                here = here.min(PIECE - self.wake_ups());
            }
            let frame = if header.opcode.is_control() {
                self.control(header, &input[..here])?
            } else {
                self.data(header, &input[..here])?
            };
            input.advance(here);
            if self.open.as_ref().is_some_and(|open| open.is_unused()) {
                self.open = None;
            }
            if frame.is_some() || input.is_empty() {
                return Ok(frame);
            }
        }
    }

    /// Returns how many bytes of the message under way have not been reported: fewer than a [`PIECE`].
    fn wake_ups(&self) -> usize {
        let message = self.open.as_ref().and_then(|open| open.message.as_ref());
        message.map_or(0, Assembly::wake_ups)
    }

    /// Reads the next header, once it is complete.
    fn header(&mut self, input: &mut Bytes) -> Result<Option<Header>, FrameError> {
        let message = self.open.as_ref().and_then(|open| open.message.as_ref());
        let (within, room) = match message {
            Some(message) => (true, self.max_message - message.size()),
            None => (false, self.max_message),
        };
        match &mut self.open {
            Some(open) if open.head_size > 0 => {
                while let Some(&byte) = input.first() {
                    input.advance(1);
                    open.head[open.head_size] = byte;
                    open.head_size += 1;
                    if let Some((header, _)) =
                        Header::read(&open.head[..open.head_size], within, room)?
                    {
                        open.head_size = 0;
                        return Ok(Some(header));
                    }
                }
                Ok(None)
            }
            _ => {
                if let Some((header, size)) = Header::read(input, within, room)? {
                    input.advance(size);
                    return Ok(Some(header));
                }
                if !input.is_empty() {
                    let open = self.open.get_or_insert_default();
                    open.head_size = input.len();
                    open.head[..input.len()].copy_from_slice(input);
                    input.clear();
                }
                Ok(None)
            }
        }
    }

    fn control(&mut self, header: Header, payload: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut whole = self.open.as_mut().map(|it| std::mem::take(&mut it.control));
        let control = whole.get_or_insert_default();
        let old = control.len();
        control.extend_from_slice(payload);
        apply_mask(&mut control[old..], header.mask);
        let control = std::mem::take(control);
        if payload.len() < header.left {
            let open = self.open.get_or_insert_default();
            open.control = control;
            open.frame = Some(header.after(payload.len()));
            return Ok(None);
        }
        Ok(Some(match header.opcode {
            Opcode::Ping => Frame::Ping(control.into()),
            Opcode::Close => Frame::Close(close_reason(&control)?),
            _ => Frame::Pong(control.len()),
        }))
    }

    fn data(&mut self, header: Header, payload: &[u8]) -> Result<Option<Frame>, FrameError> {
        let ends = payload.len() == header.left;
        let begun = self.open.as_ref().is_some_and(|open| open.message.is_some());
        let whole = ends && header.last && !begun;
        if whole && header.opcode == Opcode::Text {
            // Most messages: only their own text is allocated.
            let mut text = payload.to_vec();
            apply_mask(&mut text, header.mask);
            let text = ByteString::try_from(text).map_err(|_| FrameError::NotUtf8)?;
            return Ok(Some(Frame::Text { text, counted: 0 }));
        }
        if whole {
            return Ok(Some(Frame::Binary { bytes: payload.len() }));
        }
        let open = self.open.get_or_insert_default();
        let message =
            open.message.get_or_insert_with(|| Assembly::new(header.opcode == Opcode::Text));
        message.extend(payload, header.mask)?;
        if !ends {
            let piece = message.wake_ups() >= PIECE;
            open.frame = Some(header.after(payload.len()));
            return Ok(piece.then(|| Frame::Part { bytes: message.tell() }));
        }
        if !header.last {
            return Ok(Some(Frame::Part { bytes: message.tell() }));
        }
        open.message.take().map(Assembly::finish).transpose()
    }
}

/// Number of bytes after which a frame is reported, so that a rate counts it long before it ends.
const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests;
