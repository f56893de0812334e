//! Network namespace of one test.
//!
//! Browsers do not use loopback addresses for ICE, and Firefox gathers nothing without a default route. So each test
//! gets a network namespace with `lo` (a page at `http://127.0.0.1` counts as a secure context, which cameras need) and
//! a veth pair that carries [`ADDRESS`] and the default route (what ICE uses).
//!
//! The namespace has no name: the test's thread moves into it, its sockets and child processes are created in it, and
//! the kernel removes it with the last of them. Nothing is left to clean up, and tests do not see each other.

use std::io;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use thiserror::Error;

/// Moves the calling thread, and everything that it starts from now on, into a new network.
///
/// # Errors
///
/// Without root (or a user namespace that stands for it), and where iproute2 is missing.
pub fn enter_new_namespace() -> Result<(), NetworkError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::NotAllowed)?;
    for step in STEPS {
        let output =
            Command::new("ip").args(step.split(' ')).output().map_err(NetworkError::NoIp)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(NetworkError::Refused { step, said });
        }
    }
    Ok(())
}

/// Checks on a thread of its own that a new network can be had.
///
/// # Errors
///
/// As [`enter_new_namespace`].
pub fn can_be_entered() -> Result<(), NetworkError> {
    let entered = thread::scope(|scope| scope.spawn(enter_new_namespace).join());
    entered.unwrap_or(Err(NetworkError::NotAllowed(Errno::UnknownErrno)))
}

/// Reason why the test has no network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Creating a namespace needs root.
    #[error(
        "no network namespace for the test ({0}): run as root, or through ./integration-tests/run"
    )]
    NotAllowed(Errno),
    /// The program `ip` did not start.
    #[error("cannot run `ip`, which comes with the package iproute2: {0}")]
    NoIp(io::Error),
    /// The program `ip` failed.
    #[error("`ip {step}` failed: {said}")]
    Refused {
        /// The arguments.
        step: &'static str,
        /// Its output.
        said: String,
    },
}

/// Address that ICE finds, in each test's network.
pub const ADDRESS: &str = "10.99.0.1";

/// Commands that set the network up. IPv6 link-local addresses are off: they would come two seconds later, after
/// duplicate address detection, and Chromium then ends every request that is under way with `ERR_NETWORK_CHANGED`.
const STEPS: [&str; 8] = [
    "link set lo up",
    "link add call0 type veth peer name call1",
    "link set call0 addrgenmode none",
    "link set call1 addrgenmode none",
    "address add 10.99.0.1/24 dev call0",
    "link set call0 up",
    "link set call1 up",
    "route add default via 10.99.0.2 dev call0",
];
