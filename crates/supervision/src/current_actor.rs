//! State of the actor that is being polled on this thread, which the actor can set and read.
//!
//! An actix context has no room for a supervisor's data, so each instance puts its [`CurrentActor`] here while it is
//! polled.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use actix::prelude::*;

use crate::error::StartError;
use crate::exit::ExitReason;
use crate::log_subject::{self, LogSubject};
use crate::policy::StartInfo;
use crate::tree::{ActorRecord, InstanceId};
use crate::watchdog::{self, PollGuard};

/// State of one instance that the actor can set and read while it is polled.
#[derive(Default)]
pub(crate) struct CurrentActor {
    pub(crate) exit: RefCell<Option<ExitReason>>,
    pub(crate) start: RefCell<StartProgress>,
    pub(crate) record: Option<Arc<ActorRecord>>,
    pub(crate) waker: RefCell<Option<Waker>>,
    /// Whether `started` has run.
    pub(crate) begun: Cell<bool>,
    /// Whether the instance has been asked to stop.
    pub(crate) asked: Cell<bool>,
    /// Whether the instance has panicked, and is being cleaned up.
    pub(crate) panicked: Cell<bool>,
}

/// Progress of a start.
#[derive(Default)]
pub(crate) enum StartProgress {
    /// Complete once `started` has run.
    #[default]
    Plain,
    /// The actor reports later that it is complete.
    Deferred,
    Ready(Option<StartInfo>),
    Failed(StartError),
}

/// Promise to report when a start is complete; made by [`defer_start`].
///
/// Dropping it fails the start.
#[must_use = "a start that is never said to be ready has failed"]
pub struct StartReport {
    current: Option<Rc<CurrentActor>>,
    done: Cell<bool>,
}

/// Declares in `started` that the start is not complete when `started` returns (OTP: a `gen_server`'s `init` that goes
/// on). The supervisor waits for [`StartReport::ready`] before it starts the next child.
///
/// In an actor that this crate did not start this has no effect.
pub fn defer_start() -> StartReport {
    let current = current();
    if let Some(current) = &current {
        *current.start.borrow_mut() = StartProgress::Deferred;
    }
    StartReport { current, done: Cell::new(false) }
}

impl StartReport {
    /// Completes the start.
    pub fn ready(self) {
        self.finish(StartProgress::Ready(None));
    }

    /// Completes the start, and gives `info` to the caller of `start_child` or `restart_child`.
    pub fn ready_with(self, info: impl Any + Send) {
        self.finish(StartProgress::Ready(Some(Box::new(info))));
    }

    /// Fails the start: the actor is dropped, and its supervisor gets the error.
    pub fn fail(self, error: StartError) {
        self.finish(StartProgress::Failed(error));
    }

    fn finish(&self, start: StartProgress) {
        if self.done.replace(true) {
            return;
        }
        if let Some(current) = &self.current {
            *current.start.borrow_mut() = start;
            if let Some(waker) = current.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Drop for StartReport {
    fn drop(&mut self) {
        self.finish(StartProgress::Failed(StartError::failed("the start was abandoned")));
    }
}

impl std::fmt::Debug for StartReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartReport").field("done", &self.done).finish_non_exhaustive()
    }
}

/// Extension of an actor's context: stopping with an exit reason, which actix does not have.
pub trait Exit {
    /// Stops this actor; it ends with `reason`. (A plain `ctx.stop()` ends [`Normal`](ExitReason::Normal).)
    ///
    /// In an actor that this crate did not start the reason is lost.
    fn exit(&mut self, reason: ExitReason);
}

impl<A: Actor<Context = Context<A>>> Exit for Context<A> {
    fn exit(&mut self, reason: ExitReason) {
        if let Some(current) = current() {
            *current.exit.borrow_mut() = Some(reason);
        }
        self.stop();
    }
}

/// Reports how many messages wait in this actor's own queues; shown in the tree's snapshot.
///
/// actix does not expose a mailbox's length, so only an actor that counts for itself has a depth.
pub fn report_depth(depth: usize) {
    if let Some(record) = current().and_then(|current| current.record.clone()) {
        record.depth.store(depth, Ordering::Relaxed);
    }
}

/// Returns whether the actor that calls this in its `stopping` or `stopped` has panicked: its state may be
/// inconsistent. Ours.
///
/// False in an actor that this crate did not start.
pub fn has_panicked() -> bool {
    current().is_some_and(|current| current.panicked.get())
}

/// Resolves when the actor that polls this is asked to stop: by its supervisor, its
/// [reference](crate::ChildRef), or an injected exit. For what an actor waits for with
/// [`ctx.wait`](AsyncContext::wait), beside which nothing else of it goes on, its stop neither: until that is over, or
/// the [time to stop](crate::ChildSpec::shutdown) is, and it is killed. Ours.
///
/// Call it in what is given to `ctx.wait` or `ctx.spawn`, and poll it there directly, as `select!` does; a combinator
/// that polls only what was woken, such as `FuturesUnordered`, does not notice. In an actor that this crate did not
/// start it never resolves.
///
/// ```
/// # use std::time::Duration;
/// use actix::prelude::*;
/// use callboard_supervision::asked_to_stop;
///
/// # struct Shop;
/// # impl Shop {
/// fn waits_for_goods(&mut self, ctx: &mut Context<Self>) {
///     let goods = tokio::time::sleep(Duration::from_secs(60));
///     let coming = async move { tokio::select! { () = goods => true, () = asked_to_stop() => false } };
///     ctx.wait(coming.into_actor(self).map(|came, _, ctx| {
///         if !came {
///             ctx.stop();
///         }
///     }));
/// }
/// # }
/// # impl Actor for Shop {
/// #     type Context = Context<Self>;
/// # }
/// ```
pub async fn asked_to_stop() {
    // An order wakes the whole instance.
    poll_fn(|_| match current().is_some_and(|current| current.asked.get()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Returns who runs on this thread: the path of the actor that is being polled or made, or the name given to the call.
pub(crate) fn current_name() -> Option<String> {
    let path = record().map(|record| record.path.to_string());
    path.or_else(|| {
        NAME.try_with(|name| name.borrow().as_deref().map(str::to_owned)).ok().flatten()
    })
}

/// Returns whether an actor that is in the tree is being polled on this thread.
pub(crate) fn is_any() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(|it| it.record.is_some()))
}

/// Returns the actor that is being polled or made on this thread.
pub(crate) fn record() -> Option<Arc<ActorRecord>> {
    // A logger may ask at any time, also while one of the two is being dropped.
    let making = MAKING.try_with(|making| making.try_borrow().ok()?.clone()).ok().flatten();
    making.or_else(|| {
        let current = CURRENT.try_with(|current| current.try_borrow().ok()?.clone());
        current.ok().flatten()?.record.clone()
    })
}

/// Returns the actor that a log line is about which is written now, on this thread: the one whose code runs or, in the
/// lines of this crate, the one whose end, panic or blocked thread is reported. For loggers, within
/// [`Log::log`](log::Log::log).
///
/// ```
/// use callboard_supervision::log_subject;
///
/// assert_eq!(log_subject(), None, "no actor runs here");
/// ```
pub fn log_subject() -> Option<LogSubject> {
    log_subject::set().unwrap_or_else(|| record().map(|record| record.subject()))
}

/// Guard of a call outside actors that has a name; restores the thread's previous name when it is dropped.
pub(crate) struct Named(Option<Rc<str>>);

/// Names the call on this thread until the guard is dropped.
pub(crate) fn name(name: &Rc<str>) -> Named {
    Named(NAME.replace(Some(Rc::clone(name))))
}

impl Drop for Named {
    fn drop(&mut self) {
        NAME.set(self.0.take());
    }
}

fn current() -> Option<Rc<CurrentActor>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Guard that makes an instance the current one until it is dropped.
pub(crate) struct Entered {
    before: Option<Rc<CurrentActor>>,
    _poll: PollGuard,
}

pub(crate) fn enter(current: &Rc<CurrentActor>, instance: InstanceId) -> Entered {
    let before = CURRENT.replace(Some(Rc::clone(current)));
    Entered { before, _poll: watchdog::begin_poll(instance) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Guard of the time in which an actor is being made; it has no instance yet.
pub(crate) struct Making(#[expect(dead_code, reason = "ends the poll")] watchdog::Making);

pub(crate) fn make(record: &Arc<ActorRecord>, instance: InstanceId) -> Making {
    MAKING.set(Some(Arc::clone(record)));
    Making(watchdog::making(instance, record))
}

impl Drop for Making {
    fn drop(&mut self) {
        MAKING.set(None);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<CurrentActor>>> = const { RefCell::new(None) };
    static MAKING: RefCell<Option<Arc<ActorRecord>>> = const { RefCell::new(None) };
    static NAME: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}
