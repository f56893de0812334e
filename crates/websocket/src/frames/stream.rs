//! Stream of frames over a stream of bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

use super::{Frame, FrameError, Reader};

/// The frames in a request's payload. It reads no further than needed for the next frame.
pub(crate) struct Frames<S> {
    payload: S,
    reader: Reader,
    /// Received bytes that have not been read.
    input: Bytes,
}

impl<S> Frames<S> {
    /// Creates a stream of messages of at most this many bytes.
    pub(crate) fn new(payload: S, max_message: usize) -> Self {
        Self { payload, reader: Reader::new(max_message), input: Bytes::new() }
    }
}

impl<S> Stream for Frames<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Frame, FrameError>;

    /// Ends when the connection ends in any way, and after a close frame or a violation.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { payload, reader, input } = self.get_mut();
        loop {
            if let Some(frame) = reader.read(input).transpose() {
                return Poll::Ready(Some(frame));
            }
            if reader.is_over() {
                return Poll::Ready(None);
            }
            // An empty one would still hold its buffer.
            *input = Bytes::new();
            match ready!(Pin::new(&mut *payload).poll_next(cx)) {
                Some(Ok(chunk)) => *input = chunk,
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}
