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
use crate::current;
use crate::error::StartError;
use crate::exit::panic_text;
use crate::fault::Fault;
use crate::instance::{Instance, Limit, Orders, Owned};
use crate::monitor::Control;
use crate::panic_hook;

/// Function that makes an actor, on the thread on which the actor will run.
pub(crate) type Make<A> =
    Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<A, StartError>> + Send>;

/// One instance of an actor. The allocation never holds both states at once: some actors are large.
#[allow(clippy::large_enum_variant, reason = "it becomes the large one, where it is")]
pub(crate) enum Life<A: Actor<Context = Context<A>>> {
    /// Resolves to none if the actor could not be made, which has been reported.
    Making(LocalBoxFuture<'static, Option<Instance<A>>>),
    Living(Instance<A>),
}

/// Returns the future that makes an actor and runs it to its end.
pub(crate) fn live<A>(make: Make<A>, slot: Arc<Slot<A>>, orders: Orders) -> Life<A>
where
    A: Actor<Context = Context<A>>,
{
    Life::Making(Box::pin(make_one(make, slot, orders)))
}

impl<A: Actor<Context = Context<A>>> Future for Life<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Self::Making(making) = this {
            match ready!(making.as_mut().poll(cx)) {
                Some(instance) => *this = Self::Living(instance),
                None => return Poll::Ready(()),
            }
        }
        match this {
            Self::Living(instance) => Pin::new(instance).poll(cx),
            Self::Making(_) => Poll::Pending,
        }
    }
}

async fn make_one<A>(make: Make<A>, slot: Arc<Slot<A>>, mut orders: Orders) -> Option<Instance<A>>
where
    A: Actor<Context = Context<A>>,
{
    orders.ticket.begin();
    let mut limit = Limit::new(orders.start_timeout);
    let mut making = AssertUnwindSafe(async move { make().await }).catch_unwind().boxed_local();
    let made = std::future::poll_fn(|cx| {
        orders.ticket.peg.set_waker(cx.waker().clone());
        if let Some(order) = orders.ticket.peg.take_order() {
            return Poll::Ready(Err(match order {
                Control::Fault(Fault::Panic(message)) => StartError::Panicked(message),
                _ => StartError::ShuttingDown,
            }));
        }
        let polled = {
            let _making = current::make(&orders.ticket.station, orders.ticket.peg.instance);
            making.poll_unpin(cx)
        };
        if let Poll::Ready(made) = polled {
            panic_hook::caught();
            return Poll::Ready(match made {
                Ok(made) => made,
                Err(panic) => Err(StartError::Panicked(panic_text(&*panic))),
            });
        }
        limit.poll(cx).map(|()| Err(StartError::TimedOut(orders.start_timeout)))
    })
    .await;
    drop(making);
    match made {
        Ok(actor) => {
            Some(Instance::new(actor, Context::new(), slot, orders, limit, Owned::BySupervisor))
        }
        Err(error) => {
            orders.ticket.start_failed(error);
            None
        }
    }
}
