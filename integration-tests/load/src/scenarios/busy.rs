//! Processes that take CPU time beside those that are measured.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// Processes that keep CPUs busy until this is dropped.
pub(super) struct Busy {
    _processes: Vec<Child>,
}

impl Busy {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let start = |_| {
            let mut command = Command::new(&program);
            command.arg("busy").stdin(Stdio::piped()).kill_on_drop(true).spawn()
        };
        Ok(Self { _processes: (0..count).map(start).collect::<io::Result<_>>()? })
    }
}

/// Keeps one CPU busy, until standard input ends.
pub(crate) fn keep_busy() {
    let parent = std::thread::spawn(|| io::copy(&mut io::stdin(), &mut io::sink()));
    while !parent.is_finished() {
        std::hint::spin_loop();
    }
}
