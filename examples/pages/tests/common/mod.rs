//! Running programs that serve a page for one browser, started as their users start them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

/// Running program, killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
}

impl Program {
    /// Starts a program, and waits until it prints its address.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut first = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut first).expect("text");
        let address = first.trim().strip_prefix("listening on http://").expect("an address");
        Self { address: address.to_owned(), child }
    }

    /// Returns the answer to a request of its own page.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let headers = format!("Host: {}\r\nContent-Type: application/json\r\n", self.address);
        self.send(method, path, &headers, body)
    }

    /// Returns the answer to a request with these headers.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut tcp = TcpStream::connect(&self.address).expect("it listens");
        let headers = format!("{headers}Connection: close\r\nContent-Length: {}\r\n", body.len());
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\n{body}");
        tcp.write_all(request.as_bytes()).expect("open");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("text");
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Returns a UDP port that is free, and not among those that the kernel gives to sockets that ask for none.
pub(crate) fn free_udp_port() -> u16 {
    let is_free = |port: &u16| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    (20_000..30_000).find(is_free).expect("a free port")
}

/// Returns the IPv4 candidates of an answer. The addresses of the other family are the interfaces' own.
pub(crate) fn ipv4_candidates(answer: &str) -> Vec<&str> {
    let is_ipv4 = |line: &&str| {
        line.split(' ').nth(4).is_some_and(|address| address.parse::<Ipv4Addr>().is_ok())
    };
    answer.split("a=candidate:").skip(1).filter(is_ipv4).collect()
}

/// A browser's offer of one data channel.
pub(crate) const OFFER: &str = r#"{"type":"offer","sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"}"#;
