//! Actor that fails at a chosen place, and a log of a tree's events.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;
use tokio::sync::{broadcast, oneshot};

/// Place where an actor panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Nowhere,
    Factory,
    Started,
    Stopping,
    Stopped,
    Drop,
}

/// Actor that counts its living instances, and panics at a chosen place; only the first instance does.
pub(crate) struct Fragile {
    pub(crate) panics: Where,
    /// Whether `stopping` always refuses.
    pub(crate) stubborn: bool,
    alive: Arc<AtomicUsize>,
}

impl Fragile {
    pub(crate) fn new(panics: Where, alive: &Arc<AtomicUsize>) -> Self {
        assert_ne!(panics, Where::Factory, "in the factory");
        alive.fetch_add(1, Ordering::SeqCst);
        Self { panics, stubborn: false, alive: Arc::clone(alive) }
    }

    /// Returns the spec of a child whose first instance panics at this place.
    pub(crate) fn spec(id: &str, panics: Where, alive: &Arc<AtomicUsize>) -> ChildSpec {
        let (alive, mut next) = (Arc::clone(alive), panics);
        ChildSpec::new(id, move || Self::new(std::mem::replace(&mut next, Where::Nowhere), &alive))
    }

    /// Returns the spec of a child that never stops when asked.
    pub(crate) fn stubborn(id: &str, alive: &Arc<AtomicUsize>) -> ChildSpec {
        let alive = Arc::clone(alive);
        ChildSpec::new(id, move || {
            let mut fragile = Self::new(Where::Nowhere, &alive);
            fragile.stubborn = true;
            fragile
        })
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(self.panics, Where::Drop, "in drop");
    }
}

impl Actor for Fragile {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert_ne!(self.panics, Where::Started, "in started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        assert_ne!(self.panics, Where::Stopping, "in stopping");
        if self.stubborn { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert_ne!(self.panics, Where::Stopped, "in stopped");
    }
}

/// Order to a [`Fragile`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Do {
    Nothing,
    Panic,
    PanicFormatted(u32),
    PanicInFuture,
    PanicInStream,
    /// Panic, and panic again during unwinding; the second panic is caught there.
    PanicHoldingAnother,
    Stop,
    Exit(ExitReason),
    /// Hold the mailbox back for this long.
    Wait(Duration),
    /// Answer, then block the thread until the other end is dropped; see [`block`].
    Block(oneshot::Sender<()>, mpsc::Receiver<()>),
}

impl StreamHandler<u8> for Fragile {
    fn handle(&mut self, _: u8, _: &mut Self::Context) {
        panic!("in a stream");
    }
}

impl Handler<Do> for Fragile {
    type Result = ();

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        match what {
            Do::Nothing => {}
            Do::Panic => panic!("in a handler"),
            Do::PanicFormatted(number) => panic!("number {number}"),
            Do::PanicInFuture => {
                ctx.spawn(async { panic!("in a future") }.into_actor(self));
            }
            Do::PanicInStream => {
                ctx.add_stream(futures_util::stream::iter([1]));
            }
            Do::PanicHoldingAnother => {
                struct Another;

                impl Drop for Another {
                    fn drop(&mut self) {
                        assert!(std::panic::catch_unwind(|| panic!("the second")).is_err());
                    }
                }

                let _another = Another;
                panic!("the first");
            }
            Do::Stop => ctx.stop(),
            Do::Exit(reason) => ctx.exit(reason),
            Do::Wait(time) => ctx.wait(tokio::time::sleep(time).into_actor(self)),
            Do::Block(begun, until) => {
                _ = begun.send(());
                _ = until.recv();
            }
        }
    }
}

/// Reader of the events of a tree.
pub(crate) struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    pub(crate) fn of(supervisor: &SupervisorRef) -> Self {
        Self(supervisor.events())
    }

    /// Returns the next event, as `b down panic(oh)`. Events of blocked threads are left out: on a busy machine the
    /// watchdog may report a thread that only waits for the CPU; see [`blocked`](Self::blocked). Removals are left out
    /// too; see [`removed`](Self::removed).
    pub(crate) async fn next(&mut self) -> String {
        let event = self.any(is_step).await;
        let name = event.path.name().to_owned();
        match event.what {
            Lifecycle::Started => format!("{name} started"),
            Lifecycle::StartFailed(error) => format!("{name} not started: {error}"),
            Lifecycle::Down(reason) => format!("{name} down {reason}"),
            Lifecycle::Abandoned => format!("{name} abandoned"),
            other => format!("{name} {other:?}"),
        }
    }

    /// Waits until this child is reported to block its thread.
    pub(crate) async fn blocked(&mut self, name: &str) {
        while self.any(|what| matches!(what, Lifecycle::Blocked(_))).await.path.name() != name {}
    }

    /// Waits until a child is reported to be removed; returns its event.
    #[allow(dead_code, reason = "not used by all tests")]
    pub(crate) async fn removed(&mut self) -> Event {
        self.any(|what| *what == Lifecycle::Removed).await
    }

    async fn any(&mut self, is_wanted: impl Fn(&Lifecycle) -> bool) -> Event {
        let event = async {
            loop {
                let event = self.0.recv().await.expect("not too much happened");
                if is_wanted(&event.what) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), event).await.expect("something happens")
    }

    /// Asserts that the next events are these.
    pub(crate) async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected);
        }
    }

    /// Returns whether all events have been read.
    pub(crate) fn none(&mut self) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(event) if !is_step(&event.what) => {}
                other => return other.is_err(),
            }
        }
    }
}

/// Returns whether this event is a step of a child's start, end or restart.
fn is_step(what: &Lifecycle) -> bool {
    !matches!(what, Lifecycle::Blocked(_) | Lifecycle::Removed)
}

/// Lets a child block its thread. The thread is blocked when this returns, until the returned sender is dropped.
pub(crate) async fn block(child: &ChildRef<Fragile>) -> mpsc::Sender<()> {
    let ((begin, begun), (release, until)) = (oneshot::channel(), mpsc::channel());
    child.do_send(Do::Block(begin, until)).unwrap();
    begun.await.unwrap();
    release
}

/// Waits until none of the actors is alive.
pub(crate) async fn gone(alive: &AtomicUsize) {
    let gone = async {
        while alive.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("no orphan survives");
}
