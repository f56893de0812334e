//! Handle of a supervisor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use tokio::sync::{broadcast, oneshot};

use crate::child_ref::{ChildRef, Slot};
use crate::core::{Answer, ChildCounts, Request};
use crate::error::*;
use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::monitor::{self, ControlBlock, Down, MonitorRef, Order};
use crate::node::Node;
use crate::path::ActorPath;
use crate::policy::{ChildId, ChildPolicy, Shutdown, StartInfo};
use crate::spec::ChildSpec;
use crate::supervisor::{Ask, AskToTerminate, Inject, Supervisor, status};
use crate::tree::{Event, InstanceId, Status, TreeSnapshot};

/// Handle of a supervisor by its name: leads to its current instance. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct SupervisorRef {
    slot: Arc<Slot<Supervisor>>,
    node: Arc<Node>,
    /// Present in the handle of a root, which has no supervisor: it is stopped through its handle.
    root: Option<Arc<ControlBlock>>,
}

/// Child that [`start_child`](SupervisorRef::start_child) or [`restart_child`](SupervisorRef::restart_child) started.
#[non_exhaustive]
pub struct StartedChild {
    /// Whether the child runs; false if it [declined](StartError::Ignore).
    pub running: bool,
    /// Value from the child's start function ([`StartReport::ready_with`](crate::StartReport::ready_with)).
    pub info: Option<StartInfo>,
}

impl fmt::Debug for StartedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartedChild")
            .field("running", &self.running)
            .field("info", &self.info.is_some())
            .finish()
    }
}

/// Description of a child in [`which_children`](SupervisorRef::which_children).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// The child's name.
    pub id: ChildId,
    /// The child's current status.
    pub status: Status,
    /// The child's policy.
    pub policy: ChildPolicy,
}

impl SupervisorRef {
    pub(crate) fn new(
        slot: Arc<Slot<Supervisor>>,
        node: Arc<Node>,
        root: Option<Arc<ControlBlock>>,
    ) -> Self {
        Self { slot, node, root }
    }

    /// Adds a child at the end of the start order and starts it.
    ///
    /// # Errors
    /// [`StartChildError`]; a child that does not start is not kept.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<StartedChild, StartChildError> {
        let request = Request::Start { id: spec.id.clone(), policy: spec.policy };
        match self.ask(request, Some(spec)).await? {
            Answer::Started(info) => Ok(StartedChild { running: true, info }),
            Answer::Ignored => Ok(StartedChild { running: false, info: None }),
            Answer::AlreadyStarted => Err(StartChildError::AlreadyStarted),
            Answer::AlreadyPresent => Err(StartChildError::AlreadyPresent),
            Answer::BadSpec(error) => Err(error.into()),
            Answer::StartFailed(error) => Err(error.into()),
            _ => Err(StartError::ShuttingDown.into()),
        }
    }

    /// Stops a child. Its spec stays, unless it is [temporary](crate::Restart::Temporary) or its supervisor dynamic.
    ///
    /// # Errors
    /// [`TerminateChildError`]
    pub async fn terminate_child(&self, id: &str) -> Result<(), TerminateChildError> {
        match self.ask(Request::Terminate(id.into()), None).await? {
            Answer::Done => Ok(()),
            Answer::NotFound => Err(TerminateChildError::NotFound),
            _ => Err(NoSupervisorError.into()),
        }
    }

    /// Stops this instance of a dynamic supervisor's child, and not an instance that has replaced it (OTP:
    /// `terminate_child` of a pid). An instance that has ended already is no error.
    ///
    /// # Errors
    /// [`TerminateChildError::NotFound`] if the instance is alive and of another supervisor, or this one is not
    /// dynamic.
    pub async fn terminate_instance(
        &self,
        instance: InstanceId,
    ) -> Result<(), TerminateChildError> {
        let (answer, answered) = oneshot::channel();
        // Each caller waits for its answer, so there are as many of these as callers.
        self.addr().ok_or(NoSupervisorError)?.do_send(AskToTerminate { instance, answer });
        match answered.await.map_err(|_| NoSupervisorError)? {
            Answer::Done => Ok(()),
            Answer::NotFound => Err(TerminateChildError::NotFound),
            _ => Err(NoSupervisorError.into()),
        }
    }

    /// Starts a child again that is known but does not run.
    ///
    /// # Errors
    /// [`RestartChildError`]; the spec of one that does not start is kept.
    pub async fn restart_child(&self, id: &str) -> Result<StartedChild, RestartChildError> {
        match self.ask(Request::Restart(id.into()), None).await? {
            Answer::Started(info) => Ok(StartedChild { running: true, info }),
            Answer::Ignored => Ok(StartedChild { running: false, info: None }),
            Answer::NotFound => Err(RestartChildError::NotFound),
            Answer::Running => Err(RestartChildError::Running),
            Answer::Restarting => Err(RestartChildError::Restarting),
            Answer::Dynamic => Err(RestartChildError::Dynamic),
            Answer::StartFailed(error) => Err(error.into()),
            _ => Err(NoSupervisorError.into()),
        }
    }

    /// Removes the spec of a child that does not run.
    ///
    /// # Errors
    /// [`DeleteChildError`]
    pub async fn delete_child(&self, id: &str) -> Result<(), DeleteChildError> {
        match self.ask(Request::Delete(id.into()), None).await? {
            Answer::Done => Ok(()),
            Answer::NotFound => Err(DeleteChildError::NotFound),
            Answer::Running => Err(DeleteChildError::Running),
            Answer::Restarting => Err(DeleteChildError::Restarting),
            Answer::Dynamic => Err(DeleteChildError::Dynamic),
            _ => Err(NoSupervisorError.into()),
        }
    }

    /// Returns the children, in start order.
    ///
    /// # Errors
    /// [`NoSupervisorError`]
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, NoSupervisorError> {
        let Answer::Children(children) = self.ask(Request::Which, None).await? else {
            return Err(NoSupervisorError);
        };
        let info = |(id, state, policy)| ChildInfo { id, status: status(state), policy };
        Ok(children.into_iter().map(info).collect())
    }

    /// Returns how many children there are.
    ///
    /// # Errors
    /// [`NoSupervisorError`]
    pub async fn count_children(&self) -> Result<ChildCounts, NoSupervisorError> {
        match self.ask(Request::Count, None).await? {
            Answer::Counts(counts) => Ok(counts),
            _ => Err(NoSupervisorError),
        }
    }

    /// Returns a child's policy (OTP: `get_childspec`), or none if there is no such child.
    ///
    /// # Errors
    /// [`NoSupervisorError`]
    pub async fn child_policy(&self, id: &str) -> Result<Option<ChildPolicy>, NoSupervisorError> {
        match self.ask(Request::Policy(id.into()), None).await? {
            Answer::Policy(policy) => Ok(Some(policy)),
            Answer::NotFound => Ok(None),
            _ => Err(NoSupervisorError),
        }
    }

    /// Returns a handle to the child with this id; [`ChildRef`] says through which restarts it leads to the child. Asks
    /// no actor.
    ///
    /// A child that does not run now is found too; a call of it fails with [`CallError::NotRunning`].
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn child<A: Actor<Context = Context<A>>>(
        &self,
        id: &str,
    ) -> Result<ChildRef<A>, LookupError> {
        typed(&self.node, id, id)
    }

    /// Returns a handle to the actor at this path below this supervisor: the ids of the supervisors on the way and the
    /// actor's own, with slashes between. Asks no actor. As with [`child`](Self::child), the actor need not run now.
    ///
    /// An id that has a slash in it is found only by [`child`](Self::child) and [`supervisor`](Self::supervisor).
    ///
    /// ```
    /// use actix::prelude::*;
    /// use callboard_supervision::*;
    ///
    /// struct Leaf;
    ///
    /// impl Actor for Leaf {
    ///     type Context = Context<Self>;
    /// }
    ///
    /// # #[actix::main]
    /// # async fn main() {
    /// let inner = || SupervisorSpec::new(Flags::one_for_one()).child(ChildSpec::new("leaf", || Leaf));
    /// let root = SupervisorSpec::new(Flags::one_for_one())
    ///     .child(ChildSpec::supervisor("inner", inner))
    ///     .start()
    ///     .await
    ///     .unwrap();
    ///
    /// assert!(root.find::<Leaf>("inner/leaf").unwrap().is_running());
    /// assert_eq!(root.find::<Leaf>("inner/root").unwrap_err().to_string(), "no child `inner/root`");
    /// # root.stop().await;
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LookupError`], with the part of the path that could not be followed.
    pub fn find<A: Actor<Context = Context<A>>>(
        &self,
        path: &str,
    ) -> Result<ChildRef<A>, LookupError> {
        let mut node = Arc::clone(&self.node);
        for (end, _) in path.match_indices('/') {
            let begin = path[..end].rfind('/').map_or(0, |slash| slash + 1);
            let so_far = || path[..end].to_owned();
            let entry = node.find(&path[begin..end]);
            let entry = entry.ok_or_else(|| LookupError::NotFound(so_far()))?;
            node = entry.node.ok_or_else(|| LookupError::NoSupervisor(so_far()))?;
        }
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        typed(&node, &path[last..], path)
    }

    /// Returns a handle to the child supervisor with this id.
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn supervisor(&self, id: &str) -> Result<SupervisorRef, LookupError> {
        let entry = self.node.find(id).ok_or_else(|| LookupError::NotFound(id.to_owned()))?;
        match (entry.slot.downcast::<Slot<Supervisor>>(), entry.node) {
            (Ok(slot), Some(node)) => Ok(SupervisorRef { slot, node, root: None }),
            _ => Err(LookupError::OtherType { id: id.to_owned(), found: entry.record.type_name }),
        }
    }

    /// Returns the names from the root to this supervisor.
    pub fn path(&self) -> &ActorPath {
        &self.node.record.path
    }

    /// Returns the tree below this supervisor as it is now. Asks no actor, so it works in any state of the actors.
    pub fn snapshot(&self) -> TreeSnapshot {
        self.node.snapshot()
    }

    /// Subscribes to all events of the whole tree from now on. A subscriber that lags more than 1,024 events behind
    /// misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.node.record.tree.subscribe()
    }

    /// Returns how many instances of the whole tree have been abandoned on blocked threads.
    pub fn abandoned(&self) -> u64 {
        self.node.record.tree.abandoned.load(Ordering::Relaxed)
    }

    /// Returns how often an actor of the whole tree has blocked its thread for a second or more
    /// ([`Lifecycle::Blocked`]).
    ///
    /// [`Lifecycle::Blocked`]: crate::Lifecycle::Blocked
    pub fn blocked(&self) -> u64 {
        self.node.record.tree.blocked.load(Ordering::Relaxed)
    }

    /// Injects a fault into a child, for tests and operators.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] if the supervisor or the child does not run.
    pub async fn inject(&self, id: &str, fault: Fault) -> Result<(), CallError> {
        let supervisor = self.addr().ok_or(CallError::NotRunning)?;
        if supervisor.send(Inject(id.into(), fault)).await? {
            Ok(())
        } else {
            Err(CallError::NotRunning)
        }
    }

    /// Injects a fault into this supervisor itself, if it is a root; any other supervisor is a child of its own
    /// supervisor.
    pub fn inject_root(&self, fault: Fault) {
        if let Some(root) = &self.root {
            root.order(Order::Fault(fault));
        }
    }

    /// Stops the whole tree below this supervisor and the supervisor itself. Resolves when all of it is gone, with the
    /// exit reason.
    ///
    /// A supervisor that is a child ends with [`ExitReason::Shutdown`] and is treated by its own supervisor
    /// accordingly: use [`terminate_child`](Self::terminate_child) there to stop a permanent one.
    pub async fn stop(&self) -> ExitReason {
        self.stop_with(ExitReason::SHUTDOWN).await
    }

    /// Stops the tree like [`stop`](Self::stop), with this exit reason.
    pub async fn stop_with(&self, reason: ExitReason) -> ExitReason {
        let Some(control) = self.control() else { return ExitReason::NoProcess };
        let ended = control.wait();
        control.order(Order::Stop { reason, how: Shutdown::Infinity });
        ended.await.unwrap_or(ExitReason::Killed)
    }

    /// Resolves when this supervisor's current instance has ended, with its exit reason: [`ReachedMaxRestartIntensity`]
    /// if it gave up.
    ///
    /// [`ReachedMaxRestartIntensity`]: ExitReason::ReachedMaxRestartIntensity
    pub async fn ended(&self) -> ExitReason {
        let Some(control) = self.control() else { return ExitReason::NoProcess };
        let ended = control.wait();
        drop(control);
        ended.await.unwrap_or(ExitReason::Killed)
    }

    /// Returns whether this supervisor runs now: its start is complete, and it has not ended.
    pub fn is_running(&self) -> bool {
        self.addr().is_some()
    }

    /// Resolves when this supervisor runs: at once if it does, else when it has been started or restarted. Never, if
    /// that does not happen: a caller that cannot know sets a time limit.
    pub async fn running(&self) {
        loop {
            // Before the check, so that no start is missed.
            let started = self.node.record.next_change();
            if self.is_running() {
                return;
            }
            started.await;
        }
    }

    /// Resolves when this supervisor has no child with this id: the id can be used again. Never, if the supervisor ends
    /// before and is not restarted.
    pub async fn removed(&self, id: &str) {
        loop {
            // Before the check, so that no removal is missed.
            let removed = self.node.record.next_change();
            if self.node.find(id).is_none() {
                return;
            }
            removed.await;
        }
    }

    /// Sends one [`Down`] to `to` when this supervisor's current instance ends, as [`monitor`](crate::monitor()) does;
    /// at once if none runs.
    pub fn monitor(&self, to: Recipient<Down>) -> MonitorRef {
        monitor::monitor_instance(self.instance(), || self.path().to_string().into(), to)
    }

    /// Links this supervisor's current instance with another actor, as [`link`](crate::link()) does.
    pub fn link<A: Actor>(&self, other: &Addr<A>) {
        monitor::link_instances(self.instance(), monitor::find(other));
    }

    fn addr(&self) -> Option<Addr<Supervisor>> {
        ChildRef::new(Arc::clone(&self.slot)).addr()
    }

    fn instance(&self) -> Option<Arc<ControlBlock>> {
        monitor::find(&self.addr()?)
    }

    fn control(&self) -> Option<Arc<ControlBlock>> {
        self.root.clone().or_else(|| self.instance())
    }

    async fn ask(
        &self,
        request: Request,
        spec: Option<ChildSpec>,
    ) -> Result<Answer, NoSupervisorError> {
        let (answer, answered) = oneshot::channel();
        // Each caller waits for its answer, so there are as many of these as callers.
        self.addr().ok_or(NoSupervisorError)?.do_send(Ask { request, spec, answer });
        answered.await.map_err(|_| NoSupervisorError)
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorRef").field("path", self.path()).finish_non_exhaustive()
    }
}

/// Returns a handle to the child with this id; errors call it `name`.
fn typed<A: Actor<Context = Context<A>>>(
    node: &Node,
    id: &str,
    name: &str,
) -> Result<ChildRef<A>, LookupError> {
    let entry = node.find(id).ok_or_else(|| LookupError::NotFound(name.to_owned()))?;
    match entry.slot.downcast::<Slot<A>>() {
        Ok(slot) => Ok(ChildRef::new(slot)),
        Err(_) => {
            Err(LookupError::OtherType { id: name.to_owned(), found: entry.record.type_name })
        }
    }
}
