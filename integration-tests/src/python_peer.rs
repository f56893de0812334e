//! Peers of other implementations, written in Python and controlled by JSON lines. Their programs are in
//! `integration-tests/peers`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::namespace::Namespace;
use crate::program;

/// Running peer. It ends at the end of its input, and is killed when dropped. A failing test shows its standard error.
#[derive(Debug)]
pub struct PythonPeer {
    name: String,
    child: Child,
    commands: Option<ChildStdin>,
    events: Lines<BufReader<ChildStdout>>,
    complaints: NamedTempFile,
    /// Network that the program enters after its start.
    _namespace: Namespace,
}

impl PythonPeer {
    /// Starts aioice's ICE agent: `aioice_peer.py` describes its commands. It uses no loopback addresses.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn aioice(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::start(namespace, "aioice_peer.py", arguments, NO_VARIABLES)
    }

    /// Starts one of the programs in `integration-tests/peers`, with these arguments and environment variables.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let complaints = NamedTempFile::new().expect("a temporary file");
        let namespace = namespace.clone();
        let mut child = Command::from(namespace.command(program::python()))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name))
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen().expect("one more handle of the file"))
            .kill_on_drop(true)
            .spawn()
            .expect("nsenter and setpriv, which come with util-linux, start");
        let commands = child.stdin.take();
        let events = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { name: name.to_owned(), child, commands, events, complaints, _namespace: namespace }
    }

    /// Sends it a command: `peer.tell(json!({ "do": "send", "text": "hello" }))`.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub async fn tell(&mut self, command: Value) {
        let commands = self.commands.as_mut().expect("open until finish");
        let written = commands.write_all(format!("{command}\n").as_bytes()).await;
        written.unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// Tells an ICE agent to connect to the other side, with these as all of its candidates.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub async fn connect(&mut self, username: &str, password: &str, candidates: &[String]) {
        let command = json!({ "do": "connect", "username": username, "password": password, "candidates": candidates });
        self.tell(command).await;
    }

    /// Returns its next event of this name, skipping others; waits for it at most `within`.
    ///
    /// # Panics
    ///
    /// When time is up or the peer has ended, with the events that it sent instead.
    pub async fn event(&mut self, event: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        let mut instead = Vec::new();
        loop {
            let Ok(line) = timeout_at(deadline, self.events.next_line()).await else {
                panic!("waited {within:?} for {event:?} of {}; it said {instead:?}", self.name);
            };
            let Some(line) = line.expect("a readable pipe") else {
                panic!("{} ended before {event:?}; it said {instead:?}", self.name);
            };
            let told: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{} wrote {line:?}: {error}", self.name));
            if told["event"] == event {
                return told;
            }
            instead.push(line);
        }
    }

    /// Closes its input and waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end within `within`, or ends with an error.
    pub async fn finish(&mut self, within: Duration) {
        drop(self.commands.take());
        let ended = timeout(within, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} still runs after {within:?}", self.name));
        assert!(status.expect("an exit status").success(), "{} did not end well", self.name);
    }
}

impl Drop for PythonPeer {
    fn drop(&mut self) {
        if thread::panicking() {
            let complaints = std::fs::read_to_string(self.complaints.path()).unwrap_or_default();
            println!("---- {} wrote to standard error:\n{complaints}", self.name);
        }
    }
}

const NO_VARIABLES: &[(&str, &OsStr)] = &[];
