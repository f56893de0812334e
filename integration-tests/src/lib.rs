//! End-to-end test harness: runs real servers and real browsers together, each test in a network of its own.
//!
//! A test is one call of [`in_network_namespace`]. What runs inside has a network to itself (see [`network`]), starts
//! [`Server`]s and [`Browser`]s, and waits for conditions with [`until`]. Everything that it started ends with it, also
//! when it panics, and also when the test process is killed.
//!
//! No test is skipped when a program is missing: a test without its browser fails and names the package.
#![allow(clippy::exhaustive_enums, reason = "only the tests beside it use it")]

pub mod browser;
pub mod call;
pub mod coturn;
pub mod delay_line;
pub mod faults;
pub mod history;
pub mod namespace;
pub mod narrow_link;
pub mod nat;
pub mod nats_server;
pub mod network;
pub mod peer;
pub mod program;
pub mod python_peer;
pub mod readme;
pub mod recording;
pub mod server;
pub mod stun;
mod wait;

pub use browser::{Browser, Camera, Kind, Tab};
pub use call::CallPage;
pub use coturn::Coturn;
pub use delay_line::DelayLine;
pub use faults::{Fault, FaultKind};
pub use namespace::Namespace;
pub use nat::NatBed;
pub use nats_server::NatsServer;
pub use peer::{Peer, PeerKind};
pub use python_peer::PythonPeer;
pub use readme::Readme;
pub use server::Server;
pub use wait::{Moment, until};

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Runs a test in a network of its own, on a thread of its own, within [`TEST_TIME`].
///
/// # Panics
///
/// When the test does, when the network cannot be made, and when time is up.
pub fn in_network_namespace<Test>(test: Test)
where
    Test: AsyncFnOnce() + Send,
{
    in_network_namespace_within(TEST_TIME, test);
}

/// Runs a test like [`in_network_namespace`], beside no other test of its program that has a network of its own: for
/// tests that keep all cores busy, as several browsers with media do.
///
/// # Panics
///
/// As [`in_network_namespace`] does. The time that the test waits for others does not count.
pub fn alone_in_network_namespace<Test>(test: Test)
where
    Test: AsyncFnOnce() + Send,
{
    // After a test that has panicked the next one is as good.
    let _no_other = CORES.write().unwrap_or_else(PoisonError::into_inner);
    in_new_namespace(TEST_TIME, test);
}

/// Runs a test of many cases like [`in_network_namespace`], within `longest`.
///
/// # Panics
///
/// When the test does, when the network cannot be made, and when time is up.
pub fn in_network_namespace_within<Test>(longest: Duration, test: Test)
where
    Test: AsyncFnOnce() + Send,
{
    let _none_alone = CORES.read().unwrap_or_else(PoisonError::into_inner);
    in_new_namespace(longest, test);
}

/// Held by the tests that run, for one that needs all cores.
static CORES: RwLock<()> = RwLock::new(());

fn in_new_namespace<Test>(longest: Duration, test: Test)
where
    Test: AsyncFnOnce() + Send,
{
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                network::enter_new_namespace().unwrap_or_else(|error| panic!("{error}"));
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a tokio runtime").block_on(async {
                    let test = within_without_builds(longest, test()).await;
                    test.unwrap_or_else(|| panic!("the test took longer than {longest:?}"));
                });
            })
            .join()
    });
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Runs a test for at most `longest`, not counting the time that builds of the workspace's programs take.
async fn within_without_builds<Test: Future>(
    longest: Duration,
    test: Test,
) -> Option<Test::Output> {
    let mut test = pin!(test);
    let began = Instant::now();
    loop {
        let allowed = longest + program::build_time();
        match timeout_at(began + allowed, &mut test).await {
            Ok(outcome) => return Some(outcome),
            Err(_) if program::build_time() + longest > allowed => {}
            Err(_) => return None,
        }
    }
}

/// Longest time of one test, browsers included. It ends tests that hang: on two cores with four busy processes beside
/// them, tests take a fraction of it.
pub const TEST_TIME: Duration = Duration::from_secs(900);

/// Longest time that a test waits for a condition that should hold at once. It ends tests that
/// hang, and measures no speed.
pub const PATIENCE: Duration = Duration::from_secs(120);
