//! Running program, as its users start it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

pub(crate) struct Program {
    pub(crate) child: Child,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    pub(crate) scheme: String,
}

impl Program {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(PATIENCE, lines.next_line())
            .await
            .expect("in time")
            .expect("text")
            .expect("a line");
        let (scheme, address) = first
            .strip_prefix("listening on ")
            .and_then(|address| address.split_once("://"))
            .expect("an address");
        Self { child, address: address.to_owned(), scheme: scheme.to_owned() }
    }

    /// Returns the status of a request, and the whole answer.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut tcp = self.ask(path, &format!("Connection: close\r\n{headers}")).await;
        let mut answer = String::new();
        timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.expect("in time").expect("text");
        (status(&answer), answer)
    }

    /// Returns the status with which a WebSocket is refused, or 101.
    pub(crate) async fn upgrade(&self, path: &str, headers: &str) -> u16 {
        let asks = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut tcp = self.ask(path, &format!("{asks}{headers}")).await;
        let mut line = [0; 12];
        timeout(PATIENCE, tcp.read_exact(&mut line))
            .await
            .expect("in time")
            .expect("a status line");
        status(std::str::from_utf8(&line).expect("ASCII"))
    }

    async fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(&self.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        tcp.write_all(request.as_bytes()).await.expect("open");
        tcp
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args([signal, &id]).status();
        assert!(status.expect("kill").success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status")
    }
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status")
}

/// Returns the exit code and the output of a run that ends by itself.
pub(crate) async fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        timeout(PATIENCE, command(arguments).output()).await.expect("it ends").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-call"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];
