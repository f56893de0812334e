//! Observer's view of the tree: a snapshot, and a stream of events.
//!
//! Each supervisor keeps a table of its children beside it, and each instance records its own state there; so a
//! snapshot asks no actor and works also while a supervisor is busy or down.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use crate::error::StartError;
use crate::exit::ExitReason;
use crate::lock::lock;
use crate::log_subject::{self, LogSubject};
use crate::path::ActorPath;
use crate::policy::{ChildId, ChildKind, Flags};

/// Id of one instance of an actor; unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number, which is never 0.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Event in the tree.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Time of the event, by tokio's clock.
    pub at: Instant,
    /// Actor of the event.
    pub path: ActorPath,
    /// Instance of the actor.
    pub instance: InstanceId,
    /// Change of the instance's state.
    pub what: Lifecycle,
}

/// Change in the state of an actor in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lifecycle {
    /// The actor is up: its start is complete.
    Started,
    /// The actor did not come up ([`StartError::Ignore`] included).
    StartFailed(StartError),
    /// The actor has ended.
    Down(ExitReason),
    /// The actor's thread is blocked; its supervisor has gone on without it.
    Abandoned,
    /// The actor has been in one callback, or one poll of a future, for this long: nothing else runs on its thread.
    /// Reported once, after a second. (Ours.)
    Blocked(Duration),
    /// The actor is gone for good: its supervisor has dropped its child spec. The event names the last instance. Not
    /// reported of children whose supervisor ends.
    Removed,
}

/// Status of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// No instance runs, and none is about to start.
    #[default]
    Stopped,
    /// The start is not complete.
    Starting,
    /// The actor runs.
    Running,
    /// The actor has been asked to stop.
    Stopping,
    /// No instance runs; the supervisor is about to start one.
    Restarting,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
        })
    }
}

/// Snapshot of an actor and all actors below it, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TreeSnapshot {
    /// Name of the actor among its siblings.
    pub id: ChildId,
    /// Names from the root to the actor.
    pub path: ActorPath,
    /// Kind of the actor: worker or supervisor.
    pub kind: ChildKind,
    /// Rust type of the actor.
    pub type_name: &'static str,
    /// Current status.
    pub status: Status,
    /// Current or last instance.
    pub instance: Option<InstanceId>,
    /// Number of restarts by its supervisor.
    pub restarts: u64,
    /// Exit reason of the last instance that ended.
    pub last_exit: Option<ExitReason>,
    /// Time since the current instance came up.
    pub uptime: Option<Duration>,
    /// Name of the thread on which it runs.
    pub thread: Option<Arc<str>>,
    /// Number of messages that wait for it, if it [reports](crate::report_depth) them.
    pub depth: usize,
    /// Flags, if it is a supervisor.
    pub flags: Option<Flags>,
    /// Time since it last dropped a child for good, if it is a supervisor.
    pub forgot: Option<Duration>,
    /// Children in start order, if it is a supervisor.
    pub children: Vec<TreeSnapshot>,
}

impl TreeSnapshot {
    /// Returns how many actors run in this tree, this one included.
    pub fn running(&self) -> usize {
        let own = usize::from(self.status == Status::Running);
        own + self.children.iter().map(Self::running).sum::<usize>()
    }

    /// Returns the actor at this path below this one; the empty path is this one.
    pub fn find(&self, names: &[&str]) -> Option<&TreeSnapshot> {
        let Some((name, rest)) = names.split_first() else { return Some(self) };
        self.children.iter().find(|child| &*child.id == *name)?.find(rest)
    }
}

impl fmt::Display for TreeSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn draw(node: &TreeSnapshot, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:indent$}{} {}", "", node.id, node.status, indent = depth * 2)?;
            if node.restarts > 0 {
                write!(f, ", {} restarts", node.restarts)?;
            }
            if let Some(exit) = &node.last_exit {
                write!(f, ", last exit {exit}")?;
            }
            writeln!(f)?;
            node.children.iter().try_for_each(|child| draw(child, depth + 1, f))
        }
        draw(self, 0, f)
    }
}

/// State that all actors of one tree share.
pub(crate) struct Tree {
    /// None for an actor outside any tree: there is no way to subscribe to it.
    events: Option<broadcast::Sender<Event>>,
    pub(crate) abandoned: AtomicU64,
    pub(crate) blocked: AtomicU64,
}

impl Tree {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(Some(broadcast::channel(EVENTS).0))
    }

    pub(crate) fn of_one() -> Arc<Self> {
        Self::with(None)
    }

    fn with(events: Option<broadcast::Sender<Event>>) -> Arc<Self> {
        Arc::new(Self { events, abandoned: AtomicU64::new(0), blocked: AtomicU64::new(0) })
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &self.events {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }
}

/// Record of one child through all its instances.
pub(crate) struct ActorRecord {
    pub(crate) path: ActorPath,
    pub(crate) tree: Arc<Tree>,
    pub(crate) kind: ChildKind,
    pub(crate) type_name: &'static str,
    pub(crate) depth: AtomicUsize,
    state: Mutex<ActorState>,
    /// Wakes those that wait for a supervisor's start, or until it has removed a child.
    changes: Option<Box<Notify>>,
}

#[derive(Clone, Default)]
struct ActorState {
    status: Status,
    /// Current or last instance.
    instance: Option<InstanceId>,
    abandoned: bool,
    restarts: u64,
    last_exit: Option<ExitReason>,
    since: Option<Instant>,
    thread: Option<Arc<str>>,
}

impl ActorRecord {
    pub(crate) fn new(
        path: ActorPath,
        tree: Arc<Tree>,
        kind: ChildKind,
        type_name: &'static str,
    ) -> Arc<Self> {
        let (depth, state) = (AtomicUsize::default(), Mutex::default());
        let changes = (kind == ChildKind::Supervisor).then(Box::default);
        Arc::new(Self { path, tree, kind, type_name, depth, state, changes })
    }

    /// Returns what log lines about this actor are about.
    pub(crate) fn subject(&self) -> LogSubject {
        LogSubject { path: self.path.clone(), type_name: self.type_name }
    }

    pub(crate) fn set_status(&self, status: Status) {
        lock(&self.state).status = status;
    }

    pub(crate) fn restarted(&self) {
        lock(&self.state).restarts += 1;
    }

    pub(crate) fn starting(&self, instance: InstanceId) {
        let mut state = lock(&self.state);
        if state.instance > Some(instance) {
            return; // an abandoned instance begins late
        }
        state.status = Status::Starting;
        (state.instance, state.abandoned) = (Some(instance), false);
        state.thread = THREAD.with(Clone::clone);
    }

    /// Reports that the instance has blocked its thread for this long.
    pub(crate) fn blocked(&self, instance: InstanceId, time: Duration) {
        self.tree.blocked.fetch_add(1, Ordering::Relaxed);
        self.publish(Instant::now(), instance, Lifecycle::Blocked(time));
    }

    pub(crate) fn report(&self, instance: InstanceId, what: Lifecycle) {
        self.log(instance, &what, false);
        self.apply(instance, what);
    }

    /// Records and logs the same for an actor that ends with the whole system or after its supervisor.
    pub(crate) fn report_at_shutdown(&self, instance: InstanceId, what: Lifecycle) {
        self.log(instance, &what, true);
        self.apply(instance, what);
    }

    fn log(&self, instance: InstanceId, what: &Lifecycle, at_shutdown: bool) {
        // Its supervisor may be the one that reports.
        log_subject::under(Some(self.subject()), || self.write(instance, what, at_shutdown));
    }

    fn write(&self, instance: InstanceId, what: &Lifecycle, at_shutdown: bool) {
        match what {
            what if at_shutdown => log::debug!("{} {instance} {what:?}", self.path),
            Lifecycle::Down(reason) if reason.is_abnormal() => {
                log::warn!("{} {instance} down: {reason}", self.path)
            }
            // Told to stop while it started, or done already.
            Lifecycle::StartFailed(StartError::ShuttingDown) => {
                log::debug!("{} {instance} {what:?}", self.path)
            }
            Lifecycle::StartFailed(StartError::Exited(reason)) if !reason.is_abnormal() => {
                log::debug!("{} {instance} {what:?}", self.path)
            }
            Lifecycle::StartFailed(error) => {
                log::warn!("{} {instance} not started: {error}", self.path)
            }
            Lifecycle::Abandoned => {
                log::error!("{} {instance} abandoned: its thread is blocked", self.path)
            }
            what => log::debug!("{} {instance} {what:?}", self.path),
        }
    }

    /// Reports that the actor is gone for good.
    pub(crate) fn removed(&self) {
        let instance = lock(&self.state).instance;
        if let Some(instance) = instance {
            self.publish(Instant::now(), instance, Lifecycle::Removed);
        }
    }

    /// Resolves when this supervisor has started, or has removed a child, since this call.
    pub(crate) fn next_change(&self) -> Notified<'_> {
        self.changes.as_deref().expect("only supervisors are waited for").notified()
    }

    /// Wakes those that wait for [`next_change`](Self::next_change).
    pub(crate) fn changed(&self) {
        if let Some(changes) = &self.changes {
            changes.notify_waiters();
        }
    }

    fn apply(&self, instance: InstanceId, what: Lifecycle) {
        let at = Instant::now();
        if what == Lifecycle::Started {
            self.changed();
        }
        self.update(at, instance, &what);
        self.publish(at, instance, what);
    }

    fn publish(&self, at: Instant, instance: InstanceId, what: Lifecycle) {
        if let Some(events) = &self.tree.events {
            // An error only says that there are no subscribers.
            _ = events.send(Event { at, path: self.path.clone(), instance, what });
        }
    }

    fn update(&self, at: Instant, instance: InstanceId, what: &Lifecycle) {
        let mut state = lock(&self.state);
        if state.instance != Some(instance) || state.abandoned {
            return; // a report of an abandoned instance
        }
        (state.status, state.since) = match what {
            Lifecycle::Blocked(_) | Lifecycle::Removed => return,
            Lifecycle::Started => (Status::Running, Some(at)),
            Lifecycle::Down(_) | Lifecycle::StartFailed(_) | Lifecycle::Abandoned => {
                (Status::Stopped, None)
            }
        };
        if let Lifecycle::Down(reason) = what {
            state.last_exit = Some(reason.clone());
        }
        if *what == Lifecycle::Abandoned {
            state.last_exit = Some(ExitReason::Killed);
            state.abandoned = true;
        }
    }

    /// Returns the state of this actor, without the flags and the children of a supervisor.
    pub(crate) fn snapshot(&self, now: Instant) -> TreeSnapshot {
        let ActorState { status, instance, abandoned, restarts, last_exit, since, thread } =
            lock(&self.state).clone();
        TreeSnapshot {
            id: Arc::from(self.path.name()),
            path: self.path.clone(),
            kind: self.kind,
            type_name: self.type_name,
            status,
            instance: instance.filter(|_| !abandoned),
            restarts,
            last_exit,
            uptime: since.map(|since| now.saturating_duration_since(since)),
            thread,
            depth: self.depth.load(Ordering::Relaxed),
            flags: None,
            forgot: None,
            children: Vec::new(),
        }
    }
}

thread_local! {
    /// This thread's name, allocated once for all actors on it.
    static THREAD: Option<Arc<str>> = std::thread::current().name().map(Arc::from);
}

/// Number of events that a subscriber may lag behind before it misses the oldest (and learns how many).
const EVENTS: usize = 1024;
