//! Process that is killed, paused and started again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use integration_tests::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// Program in a network, whose output goes to a file. It ends with the thread that has started it.
pub(crate) struct Process {
    network: Namespace,
    program: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(network: &Namespace, program: PathBuf, log: PathBuf) -> Self {
        Self { network: network.clone(), program, log, child: None }
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self, arguments: &[String]) -> io::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().append(true).create(true).open(&self.log)?;
        let child = Command::from(self.network.command(&self.program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it at once; waits until it has ended.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = self.id().ok_or(io::ErrorKind::NotFound)?;
        Ok(kill(Pid::from_raw(id.cast_signed()), signal)?)
    }

    /// Returns its process id; none while it is killed.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Returns whether it was started and has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }
}
