//! A client that sends any bytes as WebSocket frames.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame_header;

/// Mask of zeros: the payload is sent unchanged.
const MASK: [u8; 4] = [0; 4];
/// Time limit on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct RawClient {
    pub(crate) tcp: TcpStream,
    read: Vec<u8>,
}

impl RawClient {
    /// Opens a WebSocket, and sends these bytes directly after the request.
    pub(crate) async fn open(address: &str, path: &str, name: &str, then: &[u8]) -> Self {
        let request = request(address, path, &format!("name: {name}\r\n"));
        let mut client = Self::send(address, &[request.as_bytes(), then].concat()).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Connects, and sends these bytes.
    pub(crate) async fn send(address: &str, bytes: &[u8]) -> Self {
        let mut tcp = TcpStream::connect(address).await.expect("the server listens");
        tcp.write_all(bytes).await.expect("the server reads");
        Self { tcp, read: Vec::new() }
    }

    /// Reads the head of the response.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).expect("ASCII");
            }
            assert!(self.fill().await, "no response: {}", self.read.escape_ascii());
        }
    }

    /// Reads this many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill().await, "not enough came");
        }
        self.read.drain(..count).collect()
    }

    /// Returns whether the server ends the connection.
    pub(crate) async fn ends(&mut self) -> bool {
        while self.fill().await {}
        true
    }

    /// Sends as much as the server accepts; returns false if it has ended the connection.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).await.is_ok()
    }

    /// Reads the next frame that is neither a ping nor a pong: its opcode and payload. None if the connection has
    /// ended.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, size, end)) = whole_frame(&self.read) {
                let frame: Vec<u8> = self.read.drain(..end).skip(size).collect();
                match first & 0xf {
                    9 | 10 => continue,
                    opcode => return Some((opcode, frame)),
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads the next text.
    pub(crate) async fn text(&mut self) -> String {
        match self.frame().await {
            Some((1, text)) => String::from_utf8(text).expect("UTF-8"),
            other => panic!("no text, but {other:?}"),
        }
    }

    /// Reads until the close frame; returns its code, and the last text before it. Nothing may follow.
    pub(crate) async fn close_code(&mut self) -> (u16, String) {
        let (code, _, last) = self.close().await;
        (code, last)
    }

    /// Reads until the close frame; returns its code and reason. Nothing may follow.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let (code, reason, _) = self.close().await;
        (code, reason)
    }

    async fn close(&mut self) -> (u16, String, String) {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let mut last = String::new();
        loop {
            match self.frame().await {
                Some((8, close)) => {
                    let (code, reason) = close.split_first_chunk().expect("a code");
                    assert_eq!(self.frame().await, None, "the connection ends after it");
                    return (u16::from_be_bytes(*code), text(reason.to_vec()), last);
                }
                Some((1, said)) => last = text(said),
                other => panic!("not closed, but {other:?}"),
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.tcp.read_buf(&mut self.read)).await;
        read.expect("something comes, or the connection ends").is_ok_and(|read| read > 0)
    }
}

/// Creates an upgrade request with these additional headers.
pub(crate) fn request(address: &str, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Returns the first byte of a server's frame, the size of its header and its own size; none while it is incomplete.
fn whole_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let &[first, second, ref rest @ ..] = bytes else { return None };
    let (size, length) = match second {
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?) as usize),
        126 => (4, u16::from_be_bytes(*rest.first_chunk()?).into()),
        short => (2, short.into()),
    };
    (bytes.len() >= size + length).then_some((first, size, size + length))
}

/// Creates a client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [header(first, payload.len() as u64), payload.to_vec()].concat()
}

/// Creates the header of a client's frame.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    frame_header::header(first, length, MASK)
}

/// Returns the resident memory of the process, in bytes.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

/// Returns the CPU time that the process has used.
pub(crate) fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks =
        after_name.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().expect("a number"));
    // USER_HZ is 100 on all that Linux runs on.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
