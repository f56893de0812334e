//! One allocation per actor instance: the factory's future first, then the instance.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::child_ref::Slot;
use crate::current_actor;
use crate::error::StartError;
use crate::exit::panic_text;
use crate::fault::Fault;
use crate::instance::{Instance, InstanceParams, Owned, TimeLimit};
use crate::monitor::Order;
use crate::panic_hook;

/// Function that makes an actor, on the thread on which the actor will run.
pub(crate) type MakeActor<A> =
    Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<A, StartError>> + Send>;

/// Task of one instance of an actor. The allocation never holds both states at once: some actors are large.
#[allow(clippy::large_enum_variant, reason = "it becomes the large one, where it is")]
pub(crate) enum InstanceTask<A: Actor<Context = Context<A>>> {
    /// Resolves to none if the actor could not be made, which has been reported.
    Making(LocalBoxFuture<'static, Option<Instance<A>>>),
    Running(Instance<A>),
}

impl<A: Actor<Context = Context<A>>> InstanceTask<A> {
    /// Creates the task that makes an actor and runs it to its end.
    pub(crate) fn new(make: MakeActor<A>, slot: Arc<Slot<A>>, params: InstanceParams) -> Self {
        Self::Making(Box::pin(make_instance(make, slot, params)))
    }
}

impl<A: Actor<Context = Context<A>>> Future for InstanceTask<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Self::Making(making) = this {
            match ready!(making.as_mut().poll(cx)) {
                Some(instance) => *this = Self::Running(instance),
                None => return Poll::Ready(()),
            }
        }
        match this {
            Self::Running(instance) => Pin::new(instance).poll(cx),
            Self::Making(_) => Poll::Pending,
        }
    }
}

async fn make_instance<A>(
    make: MakeActor<A>,
    slot: Arc<Slot<A>>,
    mut params: InstanceParams,
) -> Option<Instance<A>>
where
    A: Actor<Context = Context<A>>,
{
    params.reporter.begin();
    let mut limit = TimeLimit::new(params.start_timeout);
    let mut making = AssertUnwindSafe(async move { make().await }).catch_unwind().boxed_local();
    let made = std::future::poll_fn(|cx| {
        params.reporter.control.set_waker(cx.waker().clone());
        if let Some(order) = params.reporter.control.take_order() {
            return Poll::Ready(Err(match order {
                Order::Fault(Fault::Panic(message)) => StartError::Panicked(message),
                _ => StartError::ShuttingDown,
            }));
        }
        let polled = {
            let _making =
                current_actor::make(&params.reporter.record, params.reporter.control.instance);
            making.poll_unpin(cx)
        };
        if let Poll::Ready(made) = polled {
            panic_hook::caught();
            return Poll::Ready(match made {
                Ok(made) => made,
                Err(panic) => Err(StartError::Panicked(panic_text(&*panic))),
            });
        }
        limit.poll(cx).map(|()| Err(StartError::TimedOut(params.start_timeout)))
    })
    .await;
    drop(making);
    match made {
        Ok(actor) => {
            Some(Instance::new(actor, Context::new(), slot, params, limit, Owned::BySupervisor))
        }
        Err(error) => {
            params.reporter.start_failed(error);
            None
        }
    }
}
