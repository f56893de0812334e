//! Monitors, which report an actor's end, and links, which share it.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};
use std::task::Waker;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::lock::lock;
use crate::log_subject::LogSubject;
use crate::policy::{DEFAULT_SHUTDOWN, Shutdown};
use crate::tree::{ActorRecord, InstanceId};

/// Report of the end of a monitored actor. Delivered once.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct Down {
    /// Id of the monitor that this answers.
    pub monitor: MonitorId,
    /// Name of the actor, for logs: its path in the tree, or its type.
    pub name: Arc<str>,
    /// Instance that ended; none if it was unknown.
    pub instance: Option<InstanceId>,
    /// Exit reason of the actor.
    pub reason: ExitReason,
}

/// Id of one call of [`monitor`]; unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonitorId(u64);

/// Monitor that is in place; see [`demonitor`](Self::demonitor).
#[derive(Debug)]
pub struct MonitorRef {
    /// Id that the [`Down`] message will carry.
    pub id: MonitorId,
    control: Weak<ControlBlock>,
}

impl MonitorRef {
    /// Removes the monitor: no [`Down`] is sent after this.
    pub fn demonitor(self) {
        if let Some(control) = self.control.upgrade() {
            control
                .lock()
                .watchers
                .retain(|watcher| !matches!(watcher, Watcher::Actor(id, _) if *id == self.id));
        }
    }
}

/// Sends one [`Down`] to `to` when the actor behind `addr` ends, for every cause.
///
/// An actor that has ended, or that was not started by this crate, is answered at once with
/// [`ExitReason::NoProcess`], as in OTP.
pub fn monitor<A: Actor>(addr: &Addr<A>, to: Recipient<Down>) -> MonitorRef {
    monitor_instance(find(addr), || std::any::type_name::<A>().into(), to)
}

/// Monitors this instance; if there is none, the report has the name from `name`.
pub(crate) fn monitor_instance(
    control: Option<Arc<ControlBlock>>,
    name: impl FnOnce() -> Arc<str>,
    to: Recipient<Down>,
) -> MonitorRef {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = MonitorId(NEXT.fetch_add(1, Ordering::Relaxed));
    if let Some(control) = &control {
        let mut state = control.lock();
        if state.ended.is_none() {
            state.watchers.push(Watcher::Actor(id, to));
            return MonitorRef { id, control: Arc::downgrade(control) };
        }
    }
    // One message for this call.
    to.do_send(Down { monitor: id, name: name(), instance: None, reason: ExitReason::NoProcess });
    MonitorRef { id, control: Weak::new() }
}

/// Links two actors: when one ends [abnormally](ExitReason::is_abnormal), the other is asked to stop and ends with an
/// error that names the first. A normal end leaves the other alone, as in OTP.
///
/// A link with an actor that has ended, or that was not started by this crate, stops the other one likewise.
pub fn link<A: Actor, B: Actor>(a: &Addr<A>, b: &Addr<B>) {
    link_instances(find(a), find(b));
}

/// Links two instances; one that is none has ended.
pub(crate) fn link_instances(a: Option<Arc<ControlBlock>>, b: Option<Arc<ControlBlock>>) {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.tie(&b);
            b.tie(&a);
        }
        (Some(alive), None) | (None, Some(alive)) => {
            alive.unlinked_by("an unknown actor", &ExitReason::NoProcess)
        }
        (None, None) => {}
    }
}

/// Order to an instance, given outside its mailbox.
#[derive(Debug)]
pub(crate) enum Order {
    Stop {
        reason: ExitReason,
        how: Shutdown,
    },
    Fault(Fault),
    /// The supervisor of the instance is gone.
    Orphaned,
}

/// Owner link of a supervisor to an instance: dropping it notifies the instance that its supervisor is gone.
#[derive(Debug)]
pub(crate) struct OwnerLink(pub(crate) Arc<ControlBlock>);

impl Drop for OwnerLink {
    fn drop(&mut self) {
        self.0.order(Order::Orphaned);
    }
}

/// Order block of an instance: its orders, and the monitors and links that wait for its end.
pub(crate) struct ControlBlock {
    pub(crate) instance: InstanceId,
    pub(crate) name: Name,
    /// Whether there are orders to take. Read in each poll, so the read must cost nothing.
    ordered: AtomicBool,
    state: Mutex<ControlState>,
}

/// Name of an instance, made into text only on demand.
#[derive(Clone)]
pub(crate) enum Name {
    Record(Arc<ActorRecord>),
    Type(&'static str),
}

impl Name {
    pub(crate) fn text(&self) -> Arc<str> {
        match self {
            Self::Record(record) => record.path.to_string().into(),
            Self::Type(name) => (*name).into(),
        }
    }

    pub(crate) fn subject(&self) -> Option<LogSubject> {
        match self {
            Self::Record(record) => Some(record.subject()),
            Self::Type(_) => None,
        }
    }
}

#[derive(Default)]
struct ControlState {
    ended: Option<ExitReason>,
    /// The instance is no more, so orders are dropped. An abandoned instance has ended but is not gone.
    gone: bool,
    watchers: Vec<Watcher>,
    /// Orders from the instance's supervisor, its links, and callers that inject faults: a handful in all.
    orders: VecDeque<Order>,
    /// Waker of the instance.
    waker: Option<Waker>,
}

enum Watcher {
    Actor(MonitorId, Recipient<Down>),
    Waiter(oneshot::Sender<ExitReason>),
    Linked(Weak<ControlBlock>),
}

impl Watcher {
    /// Returns whether nothing waits for it any more.
    fn has_left(&self) -> bool {
        matches!(self, Self::Waiter(waiter) if waiter.is_closed())
    }
}

impl std::fmt::Debug for ControlBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlBlock")
            .field("name", &self.name.text())
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl ControlBlock {
    pub(crate) fn new(name: Name) -> Arc<Self> {
        let (ordered, state) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { instance: InstanceId::next(), name, ordered, state })
    }

    /// Gives the instance an order; an instance that is gone takes none.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        if !state.gone {
            state.orders.push_back(order);
            self.ordered.store(true, Ordering::Release);
            if let Some(waker) = &state.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Sets the waker with which the instance is woken from now on.
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    /// Returns the next order.
    pub(crate) fn take_order(&self) -> Option<Order> {
        if !self.ordered.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.lock();
        let order = state.orders.pop_front();
        self.ordered.store(!state.orders.is_empty(), Ordering::Release);
        order
    }

    /// Resolves with the exit reason when the instance has ended.
    pub(crate) fn wait(&self) -> oneshot::Receiver<ExitReason> {
        let (sender, waiter) = oneshot::channel();
        let mut state = self.lock();
        match &state.ended {
            Some(reason) => _ = sender.send(reason.clone()),
            None => {
                if state.watchers.len() == state.watchers.capacity() {
                    // It holds at most about twice as many as wait.
                    state.watchers.retain(|watcher| !watcher.has_left());
                    let waiting = state.watchers.len();
                    state.watchers.reserve(waiting);
                }
                state.watchers.push(Watcher::Waiter(sender));
            }
        }
        waiter
    }

    /// Records that the instance is no more.
    pub(crate) fn end(&self, reason: &ExitReason) {
        {
            let mut state = self.lock();
            state.gone = true;
            (state.waker, state.orders) = (None, VecDeque::new());
        }
        self.ended(reason);
    }

    /// Records that the instance counts as ended, and reports it to all watchers, once.
    pub(crate) fn ended(&self, reason: &ExitReason) {
        let watchers = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.clone());
            std::mem::take(&mut state.watchers)
        };
        for watcher in watchers {
            match watcher {
                Watcher::Actor(monitor, to) => {
                    let (name, instance) = (self.name.text(), Some(self.instance));
                    // One message for each call of `monitor`.
                    to.do_send(Down { monitor, name, instance, reason: reason.clone() });
                }
                Watcher::Waiter(waiter) => _ = waiter.send(reason.clone()),
                Watcher::Linked(other) => {
                    if let (Some(other), true) = (other.upgrade(), reason.is_abnormal()) {
                        other.unlinked_by(&self.name.text(), reason);
                    }
                }
            }
        }
    }

    fn tie(&self, other: &Arc<ControlBlock>) {
        let ended = {
            let mut state = self.lock();
            if state.ended.is_none() {
                state.watchers.push(Watcher::Linked(Arc::downgrade(other)));
            }
            state.ended.clone()
        };
        if let Some(reason) = ended.filter(ExitReason::is_abnormal) {
            other.unlinked_by(&self.name.text(), &reason);
        }
    }

    fn unlinked_by(&self, name: &str, reason: &ExitReason) {
        let reason = ExitReason::Error(format!("linked {name} ended: {reason}"));
        self.order(Order::Stop { reason, how: DEFAULT_SHUTDOWN });
    }

    fn lock(&self) -> MutexGuard<'_, ControlState> {
        lock(&self.state)
    }
}

/// Registers the instance behind `addr` for [`find`] until the guard is dropped.
pub(crate) fn register<A: Actor>(addr: &Addr<A>, control: &Arc<ControlBlock>) -> Registration {
    let place = place(addr);
    control_blocks().insert(place, Arc::clone(control));
    Registration(place)
}

/// Guard of a registration. Must be dropped before the mailbox is, because the mailbox's place in memory is the key.
#[derive(Debug)]
pub(crate) struct Registration(usize);

impl Drop for Registration {
    fn drop(&mut self) {
        control_blocks().remove(&self.0);
    }
}

pub(crate) fn find<A: Actor>(addr: &Addr<A>) -> Option<Arc<ControlBlock>> {
    control_blocks().get(&place(addr)).cloned()
}

/// Returns whether this instance has not ended yet.
pub(crate) fn is_running(instance: InstanceId) -> bool {
    control_blocks().values().any(|control| control.instance == instance)
}

/// Returns the name of the instance with this number, and whether the instance was abandoned; none if it has no mailbox
/// (any more).
pub(crate) fn name_of(instance: u64) -> Option<(Name, bool)> {
    let control =
        control_blocks().values().find(|control| control.instance.number() == instance).cloned()?;
    let left_behind = control.lock().ended.is_some();
    Some((control.name.clone(), left_behind))
}

fn control_blocks() -> MutexGuard<'static, HashMap<usize, Arc<ControlBlock>>> {
    static CONTROL_BLOCKS: LazyLock<Mutex<HashMap<usize, Arc<ControlBlock>>>> =
        LazyLock::new(Mutex::default);
    lock(&CONTROL_BLOCKS)
}

/// Returns the place in memory of the mailbox behind `addr`: actix hashes it of an address, and no two living actors
/// share it.
fn place<A: Actor>(addr: &Addr<A>) -> usize {
    struct Place(u64);

    impl Hasher for Place {
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = (self.0 << 8) | u64::from(byte);
            }
        }

        fn write_usize(&mut self, place: usize) {
            self.0 = place as u64;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut place = Place(0);
    addr.hash(&mut place);
    place.finish() as usize
}

#[cfg(test)]
mod tests {
    use super::{ControlBlock, Name};
    use crate::exit::ExitReason;

    #[test]
    fn those_that_wait_no_more_are_not_kept() {
        let control = ControlBlock::new(Name::Type("Child"));
        let mut waiting: Vec<_> = (0..3).map(|_| control.wait()).collect();

        (0..1_000).for_each(|_| drop(control.wait()));

        assert!(control.lock().watchers.len() <= 8);
        control.end(&ExitReason::Normal);
        assert!(waiting.iter_mut().all(|one| one.try_recv() == Ok(ExitReason::Normal)));
    }
}
