//! Start of a supervisor: as a child of another one, or as the root of a tree.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::child_ref::Slot;
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::instance::InstanceParams;
use crate::instance_task::MakeActor;
use crate::lock::lock;
use crate::monitor::{ControlBlock, Name};
use crate::node::Node;
use crate::path::ActorPath;
use crate::policy::{ChildId, ChildKind, Shutdown};
use crate::reporter::{InstanceReporter, ReportTarget};
use crate::spec::{ChildSpec, SupervisorSpec};
use crate::supervisor::Supervisor;
use crate::supervisor_ref::SupervisorRef;
use crate::tree::{ActorRecord, Tree};

impl ChildSpec {
    /// Creates the specification of a supervisor. `make` returns its flags and start list anew for each instance.
    ///
    /// Children that were added at run time are gone after a restart of the supervisor.
    pub fn supervisor<F>(id: impl Into<ChildId>, mut make: F) -> Self
    where
        F: FnMut() -> SupervisorSpec + Send + 'static,
    {
        Self::try_supervisor(id, move |_| Ok(make()))
    }

    /// Creates the specification of a supervisor from a function that may fail or [decline](StartError::Ignore). The
    /// function receives the handle of the supervisor that it describes, for code that adds children to it later.
    pub fn try_supervisor<F>(id: impl Into<ChildId>, mut make: F) -> Self
    where
        F: FnMut(SupervisorRef) -> Result<SupervisorSpec, StartError> + Send + 'static,
    {
        Self::async_supervisor(id, move |supervisor| std::future::ready(make(supervisor)))
    }

    /// Creates the specification of a supervisor from a function as that of [`try_supervisor`](Self::try_supervisor),
    /// which may wait for something. The supervisor's own supervisor waits for it, without a limit.
    ///
    /// ```
    /// use callboard_supervision::*;
    ///
    /// # #[actix::main]
    /// # async fn main() {
    /// let shards = ChildSpec::async_supervisor("shards", |_| async {
    ///     // A database, for example.
    ///     tokio::task::yield_now().await;
    ///     Ok(SupervisorSpec::new(Flags::one_for_one()).child(ChildSpec::supervisor("first", || {
    ///         SupervisorSpec::new(Flags::one_for_one())
    ///     })))
    /// });
    /// let tree = SupervisorSpec::new(Flags::one_for_one()).child(shards).start().await.unwrap();
    /// assert_eq!(&*tree.snapshot().children[0].children[0].id, "first");
    /// # tree.stop().await;
    /// # }
    /// ```
    pub fn async_supervisor<F, Fut>(id: impl Into<ChildId>, make: F) -> Self
    where
        F: FnMut(SupervisorRef) -> Fut + Send + 'static,
        Fut: Future<Output = Result<SupervisorSpec, StartError>> + 'static,
    {
        let make = Arc::new(Mutex::new(make));
        let factory =
            move |node: Option<Arc<Node>>, slot: &Arc<Slot<Supervisor>>| -> MakeActor<Supervisor> {
                let (make, slot) = (Arc::clone(&make), Arc::clone(slot));
                Box::new(move || {
                    async move {
                        let node = node.expect("a supervisor is launched with its node");
                        let itself = SupervisorRef::new(slot, Arc::clone(&node), None);
                        let making = lock(&make)(itself);
                        Supervisor::new(making.await?, node).map_err(|error| {
                            StartError::Supervisor(Box::new(StartSupervisorError::Spec(error)))
                        })
                    }
                    .boxed_local()
                })
            };
        Self::with(id.into(), ChildKind::Supervisor, Shutdown::Infinity, NO_LIMIT, factory)
    }
}

impl SupervisorSpec {
    /// Starts this supervisor as the root of a tree, on the current thread.
    ///
    /// Resolves when all children of the start list are up. The tree runs until it is [stopped](SupervisorRef::stop),
    /// gives up, or the thread's [`System`](actix::System) or [`Arbiter`](actix::Arbiter) ends.
    ///
    /// # Errors
    /// [`StartSupervisorError`], after those children that had started were stopped in reverse order.
    pub async fn start(self) -> Result<SupervisorRef, StartSupervisorError> {
        self.start_as("root").await
    }

    /// Starts this supervisor like [`start`](Self::start), under a name of its own for logs and snapshots.
    pub async fn start_as(
        self,
        name: impl Into<ChildId>,
    ) -> Result<SupervisorRef, StartSupervisorError> {
        let mut once = Some(self);
        let spec =
            ChildSpec::try_supervisor(name, move |_| once.take().ok_or(StartError::ShuttingDown));
        let record = ActorRecord::new(
            ActorPath::root(spec.id.clone()),
            Tree::new(),
            spec.policy.kind,
            spec.factory.type_name(),
        );
        let node = Node::new(Arc::clone(&record));
        let control = ControlBlock::new(Name::Record(Arc::clone(&record)));
        let (starter, started) = oneshot::channel();
        let reporter = InstanceReporter {
            record,
            control: Arc::clone(&control),
            slot: spec.factory.vacate(),
            target: ReportTarget::Starter(Some(starter)),
            started: false,
            done: false,
            last: false,
        };
        let (shutdown, start_timeout) = (spec.policy.shutdown, spec.policy.start_timeout);
        let params = InstanceParams { reporter, shutdown, start_timeout };
        spec.factory.launch(Some(Arc::clone(&node)), params)();
        match started.await {
            Ok(Ok(())) => {
                let slot = spec.factory.slot().downcast();
                let slot = slot.expect("a supervisor's factory has a supervisor's slot");
                Ok(SupervisorRef::new(slot, node, Some(control)))
            }
            Ok(Err(StartError::Supervisor(error))) => Err(*error),
            Ok(Err(StartError::Exited(reason))) => Err(StartSupervisorError::Exited(reason)),
            Ok(Err(error)) => {
                Err(StartSupervisorError::Exited(ExitReason::Error(error.to_string())))
            }
            Err(_) => Err(StartSupervisorError::Exited(ExitReason::Killed)),
        }
    }
}

/// A time that is longer than any process runs, yet short enough to add to an `Instant`.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
