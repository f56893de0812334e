//! The servers of the examples, run as their users run them.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::program;

/// Running server, of `mesh-call` unless another is named, killed when dropped. A failing test shows its output.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    written: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it on a free port, with its built-in users and rooms.
    pub async fn start() -> Self {
        Self::start_with(&["--listen", "127.0.0.1:0"]).await
    }

    /// Starts it with these arguments and waits for its `listening on …` line.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::of("mesh-call", arguments).await
    }

    /// Starts this program of the workspace with these arguments and waits for its `listening on …` line.
    ///
    /// # Panics
    ///
    /// When it does not start, or does not print its address.
    pub async fn of(program: &str, arguments: &[&str]) -> Self {
        Self::of_with(program, arguments, &[]).await
    }

    /// Starts it like [`of`](Self::of), with these variables in its environment.
    ///
    /// # Panics
    ///
    /// When it does not start, or does not print its address.
    pub async fn of_with(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::at(&program::of_the_workspace(program), arguments, environment).await
    }

    /// Starts the program at this path, as [`of_with`](Self::of_with) does.
    ///
    /// # Panics
    ///
    /// When it does not start, or does not print its address.
    pub async fn at(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        // `setpriv` execs the server, which the kernel then ends with this thread, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env("RUST_LOG", "info")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv, which comes with util-linux, starts");
        let written = Arc::default();
        keep_lines(child.stderr.take().expect("a pipe"), &written);

        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(PATIENCE, output.next_line()).await;
        let Some(address) = first.as_ref().ok().and_then(|line| {
            let line = line.as_ref().ok()?.as_deref()?;
            Some(line.strip_prefix("listening on ")?.trim_end_matches('/').to_owned())
        }) else {
            panic!("instead of `listening on …` the server said {first:?}; {:#?}", written.lock());
        };
        keep_lines(output.into_inner(), &written);
        Self { child, address, written }
    }

    /// Returns the address that it printed, `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the address of a page.
    pub fn page(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Returns its address in the form that `--listen` takes.
    pub fn listen(&self) -> &str {
        self.address.split_once("://").map_or(&*self.address, |(_, listen)| listen)
    }

    /// Returns what it has written so far, by lines, but for its address.
    pub fn written(&self) -> Vec<String> {
        self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Returns the id of its process.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Sends SIGTERM and waits for the process to end.
    ///
    /// # Panics
    ///
    /// When it has not ended within `drain`.
    pub async fn terminate(mut self, drain: Duration) -> ExitStatus {
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)
            .expect("the server can be told to end");
        let ended = timeout(drain, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("the server still runs {drain:?} after SIGTERM"))
            .expect("an exit status")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let written = self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let tail = &written[written.len().saturating_sub(SHOWN_LINES)..];
            println!("---- the server wrote at last:\n{}", tail.join("\n"));
        }
    }
}

fn keep_lines(from: impl AsyncRead + Unpin + Send + 'static, written: &Arc<Mutex<Vec<String>>>) {
    let written = Arc::clone(written);
    let mut lines = BufReader::new(from).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            written.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
        }
    });
}

/// Number of lines of its log that a failing test shows.
const SHOWN_LINES: usize = 60;
