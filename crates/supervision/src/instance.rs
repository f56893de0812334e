//! Instance of an actor: made, started, watched to its end.
//!
//! The instance is a task on the actor's own arbiter. It polls the actor inside `catch_unwind`, takes orders from
//! outside the mailbox (stop, kill, faults), keeps the time limits of start and stop, and reports the end exactly
//! once, for every cause; also when its arbiter dies and the task is merely dropped.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::fut::ActorFuture;
use actix::prelude::*;
use tokio::time::{Sleep, sleep};

use crate::child_ref::Slot;
use crate::current_actor::{self, CurrentActor, StartProgress};
use crate::error::StartError;
use crate::exit::{ExitReason, panic_text};
use crate::fault::Fault;
use crate::monitor::{self, Order, Registration};
use crate::panic_hook;
use crate::policy::{ChildKind, DEFAULT_SHUTDOWN, Shutdown, StartInfo};
use crate::reporter::InstanceReporter;

/// Parameters of a new instance.
pub(crate) struct InstanceParams {
    pub(crate) reporter: InstanceReporter,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Duration,
}

/// Starts an actor without a supervisor, which can be monitored and linked.
pub(crate) fn start_unsupervised<A>(
    actor: A,
    slot: Arc<Slot<A>>,
    mut params: InstanceParams,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    params.reporter.begin();
    let ctx = Context::new();
    let addr = ctx.address();
    let limit = TimeLimit::new(params.start_timeout);
    actix::spawn(Instance::new(actor, ctx, slot, params, limit, Owned::ByAddresses));
    addr
}

/// Time limit of a start or a stop.
pub(crate) struct TimeLimit {
    time: Duration,
    over: Pin<Box<Sleep>>,
}

impl TimeLimit {
    pub(crate) fn new(time: Duration) -> Box<Self> {
        Box::new(Self { time, over: Box::pin(sleep(time)) })
    }

    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.over.as_mut().poll(cx)
    }
}

/// Owner that keeps an actor alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owned {
    BySupervisor,
    /// The actor ends when its last address is dropped, as in plain actix.
    ByAddresses,
}

pub(crate) struct Instance<A: Actor<Context = Context<A>>> {
    /// Declared before `fut`, because it must be dropped first.
    registration: Option<Registration>,
    fut: Option<ContextFut<A, Context<A>>>,
    owned: Owned,
    slot: Arc<Slot<A>>,
    current: Rc<CurrentActor>,
    reporter: InstanceReporter,
    /// Waker that the control block has ([`ControlBlock::set_waker`]).
    waker: Option<Waker>,
    shutdown: Shutdown,
    /// Reason of the order to stop, if there was one.
    asked: Option<ExitReason>,
    /// Time limit of the start, or later of the stop.
    limit: Option<Box<TimeLimit>>,
}

impl<A: Actor<Context = Context<A>>> Unpin for Instance<A> {}

impl<A: Actor<Context = Context<A>>> Future for Instance<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut panic = None;
        if let Poll::Ready(killed) = this.poll_orders(&mut panic, cx) {
            this.kill(killed);
            return Poll::Ready(());
        }
        if this.poll_actor(panic, cx).is_ready() {
            return Poll::Ready(());
        }
        if !this.reporter.started {
            match this.poll_start(cx) {
                Poll::Ready(Err(error)) => {
                    this.kill(Killed::Start(error));
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(info)) => {
                    if let (Owned::BySupervisor, Some(fut)) = (this.owned, &mut this.fut) {
                        this.slot.set(this.reporter.control.instance, fut.ctx().address());
                    }
                    if this.asked.is_none() {
                        this.limit = None;
                    }
                    this.reporter.started(info);
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

/// Future in the actor's context that stops the actor when it has been asked to stop. Polled with the actor, so it
/// needs no waker.
struct StopWhenAsked(Rc<CurrentActor>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for StopWhenAsked {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        ctx: &mut Context<A>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if self.0.asked.get() {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Future in the actor's context that records that `started` has run, and has not stopped the actor.
struct Begun(Rc<CurrentActor>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Begun {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        _: &mut Context<A>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        self.0.begun.set(true);
        Poll::Ready(())
    }
}

/// Reason why an actor is dropped instead of stopped.
enum Killed {
    Stop,
    Start(StartError),
}

impl<A: Actor<Context = Context<A>>> Instance<A> {
    pub(crate) fn new(
        actor: A,
        mut ctx: Context<A>,
        slot: Arc<Slot<A>>,
        params: InstanceParams,
        limit: Box<TimeLimit>,
        owned: Owned,
    ) -> Self {
        let InstanceParams { reporter, shutdown, .. } = params;
        let addr = ctx.address();
        let record = Some(Arc::clone(&reporter.record));
        let current = Rc::new(CurrentActor { record, ..CurrentActor::default() });
        // Futures that the context waits for are polled before the mailbox: the actor has begun once this is polled.
        ctx.wait(Begun(Rc::clone(&current)));
        ctx.spawn(StopWhenAsked(Rc::clone(&current)));
        Self {
            registration: Some(monitor::register(&addr, &reporter.control)),
            fut: Some(ctx.into_future(actor)),
            owned,
            slot,
            current,
            reporter,
            waker: None,
            shutdown,
            asked: None,
            limit: Some(limit),
        }
    }

    /// Takes the orders from outside the mailbox, such as a panic to inject; ready when the actor must be dropped.
    fn poll_orders(
        &mut self,
        panic: &mut Option<String>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Killed> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.reporter.control.set_waker(cx.waker().clone());
            self.waker = Some(cx.waker().clone());
        }
        while let Some(order) = self.reporter.control.take_order() {
            match order {
                Order::Stop { how: Shutdown::BrutalKill, .. } | Order::Fault(Fault::Kill) => {
                    return Poll::Ready(Killed::Stop);
                }
                Order::Stop { reason, how } => self.ask_to_stop(reason, how),
                Order::Fault(Fault::Exit(reason)) => self.ask_to_stop(reason, self.shutdown),
                Order::Fault(Fault::Panic(message)) => *panic = Some(message),
                Order::Orphaned => match (self.shutdown, self.reporter.record.kind) {
                    (Shutdown::BrutalKill, _) => return Poll::Ready(Killed::Stop),
                    // There is no supervisor left that would wait without a limit.
                    (Shutdown::Infinity, ChildKind::Worker) => {
                        self.ask_to_stop(ExitReason::SHUTDOWN, DEFAULT_SHUTDOWN);
                    }
                    (how, _) => self.ask_to_stop(ExitReason::SHUTDOWN, how),
                },
            }
        }
        let Some(limit) = &mut self.limit else { return Poll::Pending };
        limit.poll(cx).map(|()| match self.asked {
            Some(_) => Killed::Stop,
            None => Killed::Start(StartError::TimedOut(limit.time)),
        })
    }

    fn ask_to_stop(&mut self, reason: ExitReason, how: Shutdown) {
        if self.asked.is_none() {
            self.asked = Some(reason);
            self.current.asked.set(true);
        }
        if let (Shutdown::Timeout(timeout), Some(_)) = (how, &self.asked) {
            self.limit = Some(TimeLimit::new(timeout));
        }
    }

    /// Polls the actor; ready when it has ended.
    fn poll_actor(&mut self, panic: Option<String>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // The limit may be new and must be polled to register the waker.
        if let Some(limit) = &mut self.limit {
            _ = limit.poll(cx);
        }
        let Some(fut) = &mut self.fut else { return Poll::Ready(()) };
        let entered = current_actor::enter(&self.current, self.reporter.control.instance);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let Some(message) = panic {
                std::panic::panic_any(message);
            }
            Pin::new(&mut *fut).poll(cx)
        }));
        let reason = match polled {
            Ok(Poll::Pending) => {
                drop(entered);
                if self.owned == Owned::ByAddresses && !fut.ctx().connected() {
                    self.ask_to_stop(ExitReason::Normal, self.shutdown);
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(())) => {
                let own = self.current.exit.borrow_mut().take();
                own.or_else(|| self.asked.take()).unwrap_or(ExitReason::Normal)
            }
            Err(panic) => {
                panic_hook::caught();
                self.current.panicked.set(true);
                ExitReason::from_panic(&*panic)
            }
        };
        // After a panic this runs `stopping` and `stopped`.
        self.drop_actor();
        drop(entered);
        self.end(reason);
        Poll::Ready(())
    }

    fn poll_start(
        &mut self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<Option<StartInfo>, StartError>> {
        let start = self.current.start.replace(StartProgress::Deferred);
        match start {
            StartProgress::Plain => Poll::Ready(Ok(None)),
            StartProgress::Ready(info) => Poll::Ready(Ok(info)),
            StartProgress::Failed(error) => Poll::Ready(Err(error)),
            StartProgress::Deferred => {
                *self.current.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Drops the actor with no callback.
    fn kill(&mut self, killed: Killed) {
        if let Some(fut) = &mut self.fut {
            fut.ctx().terminate();
        }
        let entered = current_actor::enter(&self.current, self.reporter.control.instance);
        self.drop_actor();
        drop(entered);
        match killed {
            Killed::Start(error) if !self.reporter.started => self.reporter.start_failed(error),
            Killed::Stop | Killed::Start(_) => self.end(ExitReason::Killed),
        }
    }

    fn drop_actor(&mut self) {
        self.registration = None;
        let fut = self.fut.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(fut))) {
            log::error!(
                "{} panicked again while it was cleaned up: {}",
                self.reporter.control.name.text(),
                panic_text(&*panic)
            );
        }
    }

    fn end(&mut self, reason: ExitReason) {
        // It may have ended while it handled its first message, in the same poll in which it began.
        if !self.reporter.started
            && self.current.begun.get()
            && matches!(*self.current.start.borrow(), StartProgress::Plain)
        {
            self.reporter.started(None);
        }
        if self.reporter.started {
            self.reporter.ended(reason);
        } else {
            // An error that the actor reported itself comes before the reason of its end.
            let error = match (self.current.start.replace(StartProgress::Deferred), reason) {
                (StartProgress::Failed(error), ExitReason::Normal | ExitReason::Shutdown(_)) => {
                    error
                }
                (_, ExitReason::Panic(message)) => StartError::Panicked(message),
                (_, ExitReason::Killed) => StartError::ShuttingDown,
                (_, reason) => StartError::Exited(reason),
            };
            self.reporter.start_failed(error);
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Instance<A> {
    /// Cleans up when the arbiter ended while the actor was running.
    fn drop(&mut self) {
        if let Some(fut) = &mut self.fut {
            // Callbacks do not run without a runtime, because they could not do their work.
            if tokio::runtime::Handle::try_current().is_err() {
                fut.ctx().terminate();
            }
            let entered = current_actor::enter(&self.current, self.reporter.control.instance);
            self.drop_actor();
            drop(entered);
        }
    }
}
