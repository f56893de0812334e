//! The server of the page as its users run it, from outside, without a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

#[test]
fn pages_of_other_sites_are_refused() {
    let program = Program::start();
    let here = program.address.clone();
    let port = here.rsplit_once(':').expect("a port").1;
    let (evil, evil_page) = (format!("evil.com:{port}"), format!("Origin: http://evil.com:{port}"));
    let own_page = format!("Origin: http://{here}");
    let json = "application/json";

    for (host, kind, header, status, word) in [
        (&evil, json, &*evil_page, 403, "forbidden_host"),
        (&evil, json, "Accept: */*", 403, "forbidden_host"),
        (&format!("localhost:{port}.evil.com"), json, "Accept: */*", 403, "forbidden_host"),
        (&here, json, "Origin: http://evil.com", 403, "forbidden_origin"),
        (&here, "text/plain", "Origin: null", 403, "forbidden_origin"),
        (&here, "text/plain", "Accept: */*", 400, "Content type"),
        (&here, json, &own_page, 200, "a=candidate:"),
    ] {
        let headers = format!("Host: {host}\r\nContent-Type: {kind}\r\n{header}\r\n");
        let answer = program.send("POST", "/offer", &headers, OFFER);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected) && answer.contains(word), "{headers}{answer}");
    }
}

#[test]
fn one_who_offers_without_end_is_told_to_wait_and_the_page_is_still_there() {
    let program = Program::start();
    let headers = format!("Host: {}\r\nContent-Type: application/json\r\n", program.address);
    let ask = |method: &str, path: &str| program.send(method, path, &headers, "{}");
    let refused = |_: &usize| ask("POST", "/offer").starts_with("HTTP/1.1 429 ");

    let at = (0..400).find(refused).expect("it is refused");

    assert!(at >= 32, "{at}");
    assert!(ask("GET", "/").starts_with("HTTP/1.1 200 "));
}

struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_custom-handshake"));
        command.args(["browser", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut first = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut first).expect("text");
        let address = first.trim().strip_prefix("listening on http://").expect("an address");
        Self { address: address.to_owned(), child }
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
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

/// A browser's, of one data channel, under a name.
const OFFER: &str = r#"{"name":"carol","offer":{"type":"offer","sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\na=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"}}"#;
