//! Frames between the nodes that have peers of a room: what a part of one is, and how messages are written and read.
//!
//! A message is a header in JSON and a payload: 4 bytes with the length of the header (big-endian), the header, the
//! payload. It travels in one or more parts, each a frame of a [line](callboard_cluster::Lines): a byte with the
//! version, a byte of flags, 8 bytes with the number of the room's link (big-endian), and its share of the message. The
//! edge numbers its links; a link lasts no longer than the line.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Error: a frame that no node of this version sends.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("the frame is of version {0}, and {VERSION} is known here")]
    Version(u8),
    #[error("the frame ends too early")]
    Short,
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("the header cannot be read: {0}")]
    Header(String),
    #[error("the payload cannot be read")]
    Payload,
}

/// Part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whether it goes to the home of the room; otherwise to an edge.
    pub(crate) to_home: bool,
    /// Whether the message goes on in another part.
    pub(crate) more: bool,
    /// Number of the room's link, among those of the edge.
    pub(crate) link: u64,
    pub(crate) share: Bytes,
}

impl Part {
    /// Reads a frame.
    pub(crate) fn read(frame: &Bytes) -> Result<Self, FrameError> {
        match *frame.get(..HEAD).ok_or(FrameError::Short)? {
            [VERSION, flags, ..] => Ok(Self {
                to_home: flags & TO_HOME != 0,
                more: flags & MORE != 0,
                link: frame[2..HEAD]
                    .iter()
                    .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
                share: frame.slice(HEAD..),
            }),
            [version, ..] => Err(FrameError::Version(version)),
            [] => Err(FrameError::Short),
        }
    }
}

/// Writes a message as the frames of a link.
pub(crate) fn write(
    to_home: bool,
    link: u64,
    header: &impl Serialize,
    payload: &[&[u8]],
) -> Vec<Bytes> {
    // Ids, texts, numbers and lists of them: all of them can be written.
    let header = serde_json::to_vec(header).unwrap_or_default();
    let mut rest = LENGTH + header.len() + payload.iter().map(|text| text.len()).sum::<usize>();
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes();
    let pieces = [&length[..], &header].into_iter().chain(payload.iter().copied());
    let mut pieces = pieces.filter(|piece| !piece.is_empty());
    let (mut frames, mut piece) = (Vec::with_capacity(1), &[][..]);
    loop {
        let mut share = rest.min(MAX_SHARE);
        rest -= share;
        let mut frame = BytesMut::with_capacity(HEAD + share);
        let flag = |flag: u8, set: bool| if set { flag } else { 0 };
        frame.put_u8(VERSION);
        frame.put_u8(flag(TO_HOME, to_home) | flag(MORE, rest > 0));
        frame.put_u64(link);
        while share > 0 {
            if piece.is_empty() {
                piece = pieces.next().unwrap_or_default();
            }
            let (now, later) = piece.split_at(piece.len().min(share));
            frame.put_slice(now);
            (share, piece) = (share - now.len(), later);
        }
        frames.push(frame.freeze());
        if rest == 0 {
            return frames;
        }
    }
}

/// Message that has come in part.
#[derive(Debug, Default)]
pub(crate) struct Assembly(BytesMut);

impl Assembly {
    /// Returns whether no message has come in part.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a part; returns the message when it is whole: its header and its payload.
    pub(crate) fn add<T: DeserializeOwned>(
        &mut self,
        part: Part,
    ) -> Result<Option<(T, Bytes)>, FrameError> {
        let message = if self.0.is_empty() && !part.more {
            part.share
        } else if self.0.len() + part.share.len() > MAX_MESSAGE {
            return Err(FrameError::TooLong);
        } else {
            self.0.put_slice(&part.share);
            if part.more {
                return Ok(None);
            }
            std::mem::take(&mut self.0).freeze()
        };
        split(message).map(Some)
    }
}

fn split<T: DeserializeOwned>(mut message: Bytes) -> Result<(T, Bytes), FrameError> {
    let length = message.get(..LENGTH).and_then(|length| length.try_into().ok());
    let length = u32::from_be_bytes(length.ok_or(FrameError::Short)?);
    let length = usize::try_from(length).map_err(|_| FrameError::TooLong)?;
    let mut rest = message.split_off(LENGTH);
    if rest.len() < length {
        return Err(FrameError::Short);
    }
    let payload = rest.split_off(length);
    let header = serde_json::from_slice(&rest);
    Ok((header.map_err(|error| FrameError::Header(error.to_string()))?, payload))
}

/// Version of the frames.
const VERSION: u8 = 1;
const MORE: u8 = 1;
const TO_HOME: u8 = 2;
/// Bytes of a part before its share of the message.
const HEAD: usize = 10;
/// Bytes of a message before its header.
const LENGTH: usize = 4;
/// Most that a part has of a message: with its head it is a frame of a line, of 256 KiB at most.
const MAX_SHARE: usize = 240 << 10;
/// Longest message: a full outbox of 1 MiB and the largest text in it, and room for the rest.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Header {
        seat: u64,
    }

    #[test]
    fn a_frame_is_as_it_was_in_the_first_version() {
        let frames = write(true, 7, &Header { seat: 3 }, &[b"da", b"ta"]);

        assert_eq!(frames, [&b"\x01\x02\0\0\0\0\0\0\0\x07\0\0\0\x0a{\"seat\":3}data"[..]]);
        let part = Part::read(&frames[0]).unwrap();
        assert_eq!((part.to_home, part.more, part.link), (true, false, 7));
        let read = Assembly::default().add::<Header>(part).unwrap().unwrap();
        assert_eq!(read, (Header { seat: 3 }, Bytes::from_static(b"data")));
    }

    #[test]
    fn a_long_message_travels_in_parts() {
        let text = vec![b'x'; 2 * MAX_SHARE];
        let frames = write(false, 1, &Header { seat: 1 }, &[&text]);
        let mut assembly = Assembly::default();

        let read: Vec<_> = frames
            .iter()
            .map(|frame| assembly.add::<Header>(Part::read(frame).unwrap()).unwrap())
            .collect();

        assert_eq!(read.len(), 3);
        assert!(read[0].is_none() && read[1].is_none());
        assert_eq!(read[2].as_ref().unwrap().1, text);
        assert!(frames.iter().all(|frame| frame.len() <= 256 << 10));
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let share = Bytes::from(vec![b'x'; MAX_SHARE]);
        let part = || Part { to_home: true, more: true, link: 1, share: share.clone() };
        let mut assembly = Assembly::default();

        let failed = (0..100).find_map(|_| assembly.add::<Header>(part()).err());

        assert_eq!(failed, Some(FrameError::TooLong));
    }

    #[test]
    fn frames_of_other_versions_are_refused() {
        assert_eq!(
            Part::read(&Bytes::from_static(b"\x02\0\0\0\0\0\0\0\0\0")),
            Err(FrameError::Version(2))
        );
        assert_eq!(Part::read(&Bytes::from_static(b"\x01\0")), Err(FrameError::Short));
    }

    proptest! {
        #[test]
        fn no_frame_panics(frame in proptest::collection::vec(any::<u8>(), 0..64), version in 0_u8..3) {
            let mut frame = frame;
            if let Some(first) = frame.first_mut() {
                *first = version;
            }
            if let Ok(part) = Part::read(&Bytes::from(frame)) {
                _ = Assembly::default().add::<Header>(part);
            }
        }
    }
}
