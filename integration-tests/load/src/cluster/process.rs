//! Process that is killed, paused and started again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use integration_tests::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// Program in a network, whose output goes to a file. It ends with the thread that has started it.
pub(crate) struct Process {
    network: Namespace,
    program: PathBuf,
    log: PathBuf,
    /// Variables of its environment.
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(network: &Namespace, program: PathBuf, log: PathBuf) -> Self {
        let environment = Vec::new();
        Self { network: network.clone(), program, log, environment, child: None }
    }

    /// Sets variables of its environment.
    pub(crate) fn environment(self, environment: Vec<(&'static str, String)>) -> Self {
        Self { environment, ..self }
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self, arguments: &[String]) -> io::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().append(true).create(true).open(&self.log)?;
        let child = Command::from(self.network.command(&self.program))
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
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

    /// Waits until it has ended by itself.
    pub(crate) async fn ends(&mut self) -> io::Result<ExitStatus> {
        let child = self.child.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
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
