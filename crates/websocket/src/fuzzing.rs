//! Entry points for the fuzz targets.

use bytes::Bytes;

use crate::frames::{Frame, FrameError, Reader};

/// Reads a client's bytes as WebSocket frames, once whole and once in pieces of these sizes (none: one byte each), with
/// messages of at most `limit` bytes. Panics if the results differ, or if more is held than allowed.
pub fn read_frames(bytes: &[u8], pieces: &[u8], limit: usize) {
    let whole = read(bytes, std::iter::repeat(bytes.len().max(1)), limit);
    let sizes = pieces.iter().map(|&size| usize::from(size).max(1)).chain(std::iter::repeat(1));
    assert_eq!(read(bytes, sizes, limit), whole);
}

fn read(
    mut bytes: &[u8],
    mut sizes: impl Iterator<Item = usize>,
    limit: usize,
) -> (Vec<Frame>, Option<FrameError>) {
    let (mut reader, mut frames) = (Reader::new(limit), Vec::new());
    while !bytes.is_empty() {
        let size = sizes.next().unwrap_or(1).min(bytes.len());
        let mut input = Bytes::copy_from_slice(&bytes[..size]);
        bytes = &bytes[size..];
        loop {
            match reader.read(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty());
        assert!(reader.held() <= limit + 125 + 14, "{} bytes are held", reader.held());
    }
    (frames, None)
}
