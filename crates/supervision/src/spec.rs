//! Specifications of children and supervisors: how to make an actor, and how its supervisor treats it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt;

use crate::arbiter::Placement;
use crate::child_ref::{Slot, Vacate};
use crate::error::StartError;
use crate::instance::InstanceParams;
use crate::instance_task::{InstanceTask, MakeActor};
use crate::lock::lock;
use crate::node::Node;
use crate::policy::{
    Backoff, ChildId, ChildKind, ChildPolicy, DEFAULT_SHUTDOWN, Flags, Restart, START_TIMEOUT,
    Shutdown,
};

/// Specification of a child: how to make its actor, and its policy (OTP: `child_spec()`).
///
/// The factory makes a new actor for each instance; it runs on the thread on which the actor will run.
pub struct ChildSpec {
    pub(crate) id: ChildId,
    pub(crate) policy: ChildPolicy,
    pub(crate) placement: Placement,
    pub(crate) factory: Box<dyn Factory>,
}

impl ChildSpec {
    /// Creates the specification of a worker made by `make`, which cannot fail (but may panic, which is a failed
    /// start).
    ///
    /// The start is complete when the actor's `started` has returned, or when it says so
    /// ([`defer_start`](crate::defer_start)).
    pub fn new<A, F>(id: impl Into<ChildId>, mut make: F) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: FnMut() -> A + Send + 'static,
    {
        Self::try_new(id, move || std::future::ready(Ok(make())))
    }

    /// Creates the specification of a worker made by `make`, which may be slow and may fail.
    pub fn try_new<A, F, Fut>(id: impl Into<ChildId>, make: F) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<A, StartError>> + 'static,
    {
        let make = Arc::new(Mutex::new(make));
        let factory = move |_: Option<Arc<Node>>, _: &Arc<Slot<A>>| -> MakeActor<A> {
            let make = Arc::clone(&make);
            Box::new(move || {
                async move {
                    let making = lock(&make)();
                    making.await
                }
                .boxed_local()
            })
        };
        Self::with(id.into(), ChildKind::Worker, DEFAULT_SHUTDOWN, START_TIMEOUT, factory)
    }

    /// Sets when the child is restarted after its end. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// Sets how the child is stopped. Default: within 5 s; a supervisor [takes its time](Shutdown::Infinity).
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.policy.shutdown = shutdown;
        self
    }

    /// Sets whether the child's end, when it is not restarted, may end its supervisor
    /// ([`Flags::auto_shutdown`](crate::Flags::auto_shutdown)). Default: no.
    pub fn significant(mut self, significant: bool) -> Self {
        self.policy.significant = significant;
        self
    }

    /// Sets the pause before each restart. Default: no pause. (Ours.)
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = Some(backoff);
        self
    }

    /// Allows a [temporary](Restart::Temporary) child this many restarts in all, after abnormal ends. It is restarted
    /// alone and without spending its supervisor's budget; after that it is given up and its spec dropped. Default: 0.
    /// (Ours.)
    pub fn retries(mut self, retries: u32) -> Self {
        self.policy.retries = retries;
        self
    }

    /// Sets the thread on which the child runs. Default: its supervisor's thread.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Sets the longest time for a start, factory included. Default: 30 s; a supervisor's has no limit. (Ours; OTP
    /// waits.)
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.policy.start_timeout = timeout;
        self
    }

    /// Returns the child's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the child's policy.
    pub fn policy(&self) -> ChildPolicy {
        self.policy
    }

    pub(crate) fn with<A, F>(
        id: ChildId,
        kind: ChildKind,
        shutdown: Shutdown,
        start_timeout: Duration,
        make: F,
    ) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: Fn(Option<Arc<Node>>, &Arc<Slot<A>>) -> MakeActor<A> + Send + 'static,
    {
        let policy = ChildPolicy {
            kind,
            restart: Restart::default(),
            shutdown,
            significant: false,
            backoff: None,
            retries: 0,
            start_timeout,
        };
        Self {
            id,
            policy,
            placement: Placement::default(),
            factory: Box::new(TypedFactory { make, slot: Slot::<A>::new() }),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("actor", &self.factory.type_name())
            .field("policy", &self.policy)
            .field("placement", &self.placement)
            .finish()
    }
}

/// Specification of a supervisor: its flags and its start list.
#[derive(Debug)]
pub struct SupervisorSpec {
    pub(crate) flags: Flags,
    pub(crate) dynamic: bool,
    pub(crate) children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// Creates the specification of a supervisor without children.
    pub fn new(flags: Flags) -> Self {
        Self { flags, dynamic: false, children: Vec::new() }
    }

    /// Creates the specification of a supervisor of many children that come and go (OTP: `simple_one_for_one`).
    ///
    /// It starts with none and restarts one at a time; it stops all at once, each within its own time-out; and it keeps
    /// no specification of a child that has ended.
    ///
    /// ```
    /// use actix::prelude::*;
    /// use callboard_supervision::*;
    ///
    /// struct Session(u32);
    ///
    /// impl Actor for Session {
    ///     type Context = Context<Self>;
    /// }
    ///
    /// # #[actix::main]
    /// # async fn main() {
    /// let sessions = SupervisorSpec::dynamic(Flags::one_for_one()).start().await.unwrap();
    /// for number in 0..3 {
    ///     let spec = ChildSpec::new(format!("session {number}"), move || Session(number)).restart(Restart::Temporary);
    ///     sessions.start_child(spec).await.unwrap();
    /// }
    /// sessions.terminate_child("session 1").await.unwrap();
    /// assert_eq!(sessions.count_children().await.unwrap().active, 2);
    /// sessions.stop().await;
    /// # }
    /// ```
    pub fn dynamic(flags: Flags) -> Self {
        Self { flags, dynamic: true, children: Vec::new() }
    }

    /// Adds a child at the end of the start list.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }
}

/// Factory of the instances of one child, for any actor type.
pub(crate) trait Factory: Send {
    /// Returns the function that spawns one instance; it must run on the child's thread.
    fn launch(&self, node: Option<Arc<Node>>, params: InstanceParams) -> Box<dyn FnOnce() + Send>;
    fn type_name(&self) -> &'static str;
    fn slot(&self) -> Arc<dyn Any + Send + Sync>;
    /// Publishes the child's instances in this slot from now on, if the slot is for the same actor type; returns
    /// whether it is.
    fn reuse_slot(&mut self, slot: &Arc<dyn Any + Send + Sync>) -> bool;
    fn vacate(&self) -> Arc<dyn Vacate>;
}

struct TypedFactory<A: Actor, F> {
    make: F,
    slot: Arc<Slot<A>>,
}

impl<A, F> Factory for TypedFactory<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Option<Arc<Node>>, &Arc<Slot<A>>) -> MakeActor<A> + Send,
{
    fn launch(&self, node: Option<Arc<Node>>, params: InstanceParams) -> Box<dyn FnOnce() + Send> {
        let (make, slot) = ((self.make)(node, &self.slot), Arc::clone(&self.slot));
        Box::new(move || _ = actix::spawn(InstanceTask::new(make, slot, params)))
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn slot(&self) -> Arc<dyn Any + Send + Sync> {
        self.slot.clone()
    }

    fn reuse_slot(&mut self, slot: &Arc<dyn Any + Send + Sync>) -> bool {
        match Arc::clone(slot).downcast::<Slot<A>>() {
            Ok(slot) => {
                self.slot = slot;
                true
            }
            Err(_) => false,
        }
    }

    fn vacate(&self) -> Arc<dyn Vacate> {
        self.slot.clone()
    }
}
