//! Program with its log as JSON, which the test reads.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use integration_tests::{PATIENCE, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Program whose log is kept whole.
pub(crate) struct Logged {
    child: Child,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    folder: TempDir,
}

impl Logged {
    /// Starts it with these arguments, and waits until it prints its address.
    pub(crate) async fn start(name: &str, level: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("there is room");
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program::of_the_workspace(name))
            .args(["--log-format", "json"])
            .args(arguments)
            .env("RUST_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(PATIENCE, output.next_line()).await.expect("in time").expect("text");
        let address = first.as_deref().and_then(|line| line.strip_prefix("listening on http://"));
        let address = address.expect("an address").trim_end_matches('/').to_owned();
        // What it prints later is not needed, but must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = output.next_line().await {} });
        Self { child, address, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Returns its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path()).expect("text")
    }

    /// Returns its lines so far. The last may be incomplete.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let log = self.log();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(parsed).collect()
    }

    /// Waits until it has ended by itself; returns its code and its log.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let ended = timeout(PATIENCE, self.child.wait()).await.expect("in time").expect("a status");
        (ended.code(), self.log())
    }

    /// Sends SIGTERM, waits until it has ended with code 0, and returns its log.
    pub(crate) async fn end(self) -> String {
        let id = self.child.id().expect("it runs");
        kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM).expect("it runs");
        let (code, log) = self.ended().await;
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

/// Returns a line, which has the fields of all lines.
pub(crate) fn parsed(line: &str) -> Value {
    let parsed: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for field in ["time", "level", "target", "message"] {
        assert!(parsed[field].is_string(), "no {field} in {line}");
    }
    let time = parsed["time"].as_str().expect("a time");
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    parsed
}
