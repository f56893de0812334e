//! Peer connections of other implementations, all controlled in the same way: `browser_peer.js` describes the commands.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::PATIENCE;
use crate::browser::{Browser, Kind};
use crate::program;

/// Implementation of a peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// Debian's Chromium.
    Chromium,
    /// Debian's Firefox.
    Firefox,
    /// aiortc, from PyPI.
    Aiortc,
    /// The crate `webrtc`, as a program of its own.
    WebrtcRs,
    /// Pion, as a program of its own. It has neither data channels nor perfect negotiation.
    Pion,
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Aiortc => "aiortc",
            Self::WebrtcRs => "webrtc-rs",
            Self::Pion => "pion",
        })
    }
}

/// Running peer of another implementation. It ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    kind: PeerKind,
    commands: mpsc::UnboundedSender<String>,
    told: mpsc::UnboundedReceiver<Value>,
    events: VecDeque<Value>,
    next: u64,
    _browser: Option<Browser>,
    _program: Option<Child>,
}

impl Peer {
    /// Starts a peer, in the network of the calling thread.
    ///
    /// # Panics
    ///
    /// When the implementation is missing or does not come up.
    pub async fn start(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Chromium => Self::in_browser(kind, Kind::Chromium).await,
            PeerKind::Firefox => Self::in_browser(kind, Kind::Firefox).await,
            PeerKind::Aiortc => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/aiortc_peer.py");
                let mut command = Command::new(program::python());
                command.arg(script);
                Self::as_program(kind, command)
            }
            PeerKind::WebrtcRs => Self::as_program(kind, Command::new(built("webrtc-rs-peer"))),
            PeerKind::Pion => {
                let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pages/bots");
                let mut command = Command::new(built("pion-peer"));
                command.args(["picture.ivf", "sound.ivf"].map(|file| files.join(file)));
                Self::as_program(kind, command)
            }
        }
    }

    async fn in_browser(kind: PeerKind, browser: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("ws://{}/", listener.local_addr().expect("it is bound"));
        let accepting = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("the page connects");
            tokio_tungstenite::accept_async(stream).await.expect("a WebSocket")
        });
        let page = serve_a_page().await;
        let browser = Browser::start(browser).await;
        // Connections are closed by their other side on purpose.
        browser.expect_lost_connections();
        browser.go_to(&page).await;
        browser.evaluate(include_str!("../peers/browser_peer.js"), vec![json!(address)]).await;
        let (mut sink, mut stream) = accepting.await.expect("it was accepted").split();

        let (commands, mut outgoing) = mpsc::unbounded_channel::<String>();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(command) = outgoing.recv().await {
                if sink.send(Message::text(command)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message
                    && tell.send(serde_json::from_str(&text).expect("JSON")).is_err()
                {
                    return;
                }
            }
        });
        Self {
            kind,
            commands,
            told,
            events: VecDeque::new(),
            next: 0,
            _browser: Some(browser),
            _program: None,
        }
    }

    fn as_program(kind: PeerKind, mut command: Command) -> Self {
        let mut program = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{kind} does not start: {error}"));
        let mut input = program.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(program.stdout.take().expect("a pipe")).lines();
        let (commands, mut outgoing) = mpsc::unbounded_channel::<String>();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(command) = outgoing.recv().await {
                if input.write_all(format!("{command}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("{kind} wrote {line:?}: {error}"));
                if tell.send(value).is_err() {
                    return;
                }
            }
        });
        Self {
            kind,
            commands,
            told,
            events: VecDeque::new(),
            next: 0,
            _browser: None,
            _program: Some(program),
        }
    }

    /// Returns its implementation.
    pub fn kind(&self) -> PeerKind {
        self.kind
    }

    /// Sends it a command, and waits for its answer.
    ///
    /// # Errors
    ///
    /// The error that it answers, or that it does not answer.
    pub async fn command(&mut self, mut command: Value) -> Result<Value, String> {
        self.next += 1;
        let id = self.next;
        command["id"] = json!(id);
        let what = command["do"].to_string();
        if self.commands.send(command.to_string()).is_err() {
            return Err(format!("{} has ended", self.kind));
        }
        let answer = async {
            loop {
                let mut told = self.told.recv().await?;
                if told["id"] == json!(id) {
                    return Some(told.take());
                }
                if told.get("event").is_some() {
                    self.events.push_back(told);
                }
            }
        };
        match timeout(PATIENCE, answer).await {
            Err(_) => Err(format!("{}: no answer to {what} within {PATIENCE:?}", self.kind)),
            Ok(None) => Err(format!("{} has ended", self.kind)),
            Ok(Some(mut answer)) => match answer.get("error") {
                Some(error) => Err(format!("{}: {what}: {error}", self.kind)),
                None => Ok(answer["ok"].take()),
            },
        }
    }

    /// Returns its next event; none when it has ended. Cancelling loses nothing.
    pub async fn event(&mut self) -> Option<Value> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        loop {
            let told = self.told.recv().await?;
            if told.get("event").is_some() {
                return Some(told);
            }
        }
    }

    /// Discards the events that it has sent.
    pub fn forget(&mut self) {
        self.events.clear();
        while self.told.try_recv().is_ok() {}
    }
}

/// Serves a page from this machine: browsers forbid pages from elsewhere to talk to it.
async fn serve_a_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut lines = BufReader::new(&mut stream).lines();
                while let Ok(Some(line)) = lines.next_line().await
                    && !line.is_empty()
                {}
                let page = "<!doctype html><title>peer</title><body>";
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length";
                // A browser may close the connection early; that does not matter.
                _ = stream
                    .write_all(format!("{head}: {}\r\n\r\n{page}", page.len()).as_bytes())
                    .await;
            });
        }
    });
    address
}

/// Returns the path of a peer that `integration-tests/run` has built.
fn built(name: &str) -> PathBuf {
    program::of_the_machine(name, "nothing: it is built there")
}
