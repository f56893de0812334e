//! Connection of a client that writes down what the server says on it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use integration_tests::history::Event;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::views::Writer;

/// Connection of a WebSocket, which is recorded.
pub(super) struct Tap {
    stream: TcpStream,
    writer: Writer,
    room: String,
    socket: u64,
    request: Vec<u8>,
    reader: Reader,
    token: String,
    is_over: bool,
}

impl Tap {
    pub(super) fn new(stream: TcpStream, writer: Writer, room: &str, socket: u64) -> Self {
        let (request, reader, token) = Default::default();
        let room = room.to_owned();
        Self { stream, writer, room, socket, request, reader, token, is_over: false }
    }

    fn saw(&mut self, bytes: &[u8]) {
        for seen in self.reader.read(bytes) {
            match seen {
                Seen::Status(101) => {}
                Seen::Status(status) => {
                    self.writer.write(Event::Refused { socket: self.socket, status });
                }
                Seen::Text(text) => {
                    if let Some(event) = self.event(&text) {
                        self.writer.write(event);
                    }
                }
                Seen::Close(code) => self.over(code),
            }
        }
    }

    fn over(&mut self, code: Option<u16>) {
        if !self.is_over {
            self.is_over = true;
            self.writer.write(Event::Lost { socket: self.socket, code });
        }
    }

    fn event(&self, text: &[u8]) -> Option<Event> {
        let message: Value = serde_json::from_slice(text).ok()?;
        let data = &message["data"];
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let peer = || string(&data["peer_id"]);
        let (socket, room) = (self.socket, self.room.clone());
        Some(match message["event"].as_str()? {
            "authenticated" => {
                let peers = data["peers"].as_array()?.iter().filter_map(string).collect();
                Event::In { socket, room, peer: peer()?, peers }
            }
            "resumed" => Event::Resumed { socket, peer: peer()?, token: self.token.clone() },
            "joined" => Event::Joined { peer: peer()? },
            "left" => Event::Left { peer: peer()? },
            "number" => Event::Got {
                from: string(&message["from"])?,
                client: string(&data["client"])?,
                n: data["n"].as_u64()?,
            },
            "error" => {
                let what = string(&data["description"])?;
                let details = data["details"].as_array().filter(|_| what == "No such peer");
                let peers = details.into_iter().flatten().filter_map(string).collect();
                Event::Told { what, peers }
            }
            other => Event::Told { what: other.to_owned(), peers: Vec::new() },
        })
    }

    /// Finds the token in the request.
    fn wrote(&mut self, bytes: &[u8]) {
        if self.reader.is_open || self.request.len() > LONGEST_HEAD {
            return;
        }
        self.request.extend_from_slice(bytes);
        let head = String::from_utf8_lossy(&self.request);
        let line = head.lines().next().unwrap_or_default();
        if let Some((_, token)) = line.split_once("resume=") {
            let token = token.split(['&', ' ']).next().unwrap_or_default();
            let mut hasher = DefaultHasher::new();
            token.hash(&mut hasher);
            self.token = format!("{:016x}", hasher.finish());
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over(None);
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                let bytes = buffer.filled()[before..].to_vec();
                self.saw(&bytes);
            }
            Poll::Ready(_) => self.over(None),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.wrote(&bytes[..written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Reader of what a server sends: the head of its answer, then frames (RFC 6455, section 5.2).
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
    is_open: bool,
    /// Whether the answer was no: what follows are no frames.
    is_refused: bool,
    /// Text whose last fragment has not come yet.
    text: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Status of the answer.
    Status(u16),
    Text(Vec<u8>),
    /// Close frame, and its code.
    Close(Option<u16>),
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        if self.is_refused {
            return seen;
        }
        self.bytes.extend_from_slice(bytes);
        if !self.is_open {
            let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return seen;
            };
            let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
            let status = String::from_utf8_lossy(&head);
            let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.unwrap_or_default();
            self.is_open = true;
            seen.push(Seen::Status(status));
            if status != 101 {
                self.is_refused = true;
                return seen;
            }
        }
        while let Some((is_last, opcode, payload)) = self.frame() {
            match opcode {
                TEXT | CONTINUATION => {
                    self.text.extend(payload);
                    if is_last {
                        seen.push(Seen::Text(std::mem::take(&mut self.text)));
                    }
                }
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    seen.push(Seen::Close(code));
                }
                _ => {}
            }
        }
        seen
    }

    /// Takes a frame that is there as a whole. A server masks none.
    fn frame(&mut self) -> Option<(bool, u8, Vec<u8>)> {
        let [first, second, rest @ ..] = self.bytes.as_slice() else { return None };
        let (head, length) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
            length => (2, u64::from(length)),
        };
        let end = head + usize::try_from(length).ok()?;
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if self.bytes.len() < end {
            return None;
        }
        let payload = self.bytes.drain(..end).skip(head).collect();
        Some((is_last, opcode, payload))
    }
}

/// Opcodes (RFC 6455, section 11.8).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// Longest request that is looked at, in bytes.
const LONGEST_HEAD: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_is_read_however_it_is_cut() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        bytes.extend(b"\x81\x02hi");
        // A ping between the fragments of a text.
        bytes.extend(b"\x01\x02ab\x89\x00\x80\x02cd");
        let long = [b'x'; 300];
        bytes.extend(b"\x81\x7e\x01\x2c");
        bytes.extend(long);
        bytes.extend(b"\x81\x7f\0\0\0\0\0\0\0\x01y");
        bytes.extend(b"\x88\x04\x03\xf4no\x88\x00");
        let text = |text: &[u8]| Seen::Text(text.to_vec());
        let all = [
            Seen::Status(101),
            text(b"hi"),
            text(b"abcd"),
            text(&long),
            text(b"y"),
            Seen::Close(Some(1012)),
            Seen::Close(None),
        ];

        for size in [1, 2, 3, 7, 1_000] {
            let mut reader = Reader::default();
            let seen: Vec<Seen> = bytes.chunks(size).flat_map(|chunk| reader.read(chunk)).collect();
            assert_eq!(seen, all, "in pieces of {size}");
        }
        let refused = Reader::default().read(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}");
        assert_eq!(refused, [Seen::Status(503)]);
    }
}
