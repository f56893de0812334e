//! Monitors and links: knowing of an actor's end, and sharing it.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::policy::Shutdown;
use crate::tree::{InstanceId, Station};

/// The end of a monitored actor. Delivered once.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Down {
    /// Which monitor this answers.
    pub monitor: MonitorId,
    /// Which actor, for logs: its path in the tree, or its type.
    pub name: Arc<str>,
    /// Which of its lives; none if it was unknown.
    pub instance: Option<InstanceId>,
    /// Why.
    pub reason: ExitReason,
}

/// One call of [`monitor`]; unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonitorId(u64);

/// A monitor that is in place; see [`demonitor`](Self::demonitor).
#[derive(Debug)]
pub struct MonitorRef {
    /// The id with which [`Down`] will come.
    pub id: MonitorId,
    peg: Weak<Peg>,
}

impl MonitorRef {
    /// Take the monitor away: no [`Down`] is sent after this.
    pub fn demonitor(self) {
        if let Some(peg) = self.peg.upgrade() {
            peg.lock()
                .watchers
                .retain(|watcher| !matches!(watcher, Watcher::Actor(id, _) if *id == self.id));
        }
    }
}

/// Have one [`Down`] sent to `to` when the actor behind `addr` ends, whatever ends it.
///
/// An actor that has ended, or that was not started by this crate, is answered at once with
/// [`ExitReason::NoProcess`], as in OTP.
pub fn monitor<A: Actor>(addr: &Addr<A>, to: Recipient<Down>) -> MonitorRef {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = MonitorId(NEXT.fetch_add(1, Ordering::Relaxed));
    let peg = find(addr);
    if let Some(peg) = &peg {
        let mut state = peg.lock();
        if state.ended.is_none() {
            state.watchers.push(Watcher::Actor(id, to));
            return MonitorRef { id, peg: Arc::downgrade(peg) };
        }
    }
    let name = Arc::from(std::any::type_name::<A>());
    // One message for this call.
    to.do_send(Down { monitor: id, name, instance: None, reason: ExitReason::NoProcess });
    MonitorRef { id, peg: Weak::new() }
}

/// Tie two actors together: when one ends [abnormally](ExitReason::is_abnormal), the other is asked to stop and ends
/// with an error that names the first. A normal end leaves the other alone, as in OTP.
///
/// A link with an actor that has ended, or that was not started by this crate, stops the other one likewise.
pub fn link<A: Actor, B: Actor>(a: &Addr<A>, b: &Addr<B>) {
    match (find(a), find(b)) {
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

/// What an instance can be told from outside its mailbox.
#[derive(Debug)]
pub(crate) enum Control {
    Stop {
        reason: ExitReason,
        how: Shutdown,
    },
    Fault(Fault),
    /// Its supervisor is gone.
    Orphaned,
}

/// A supervisor's hold on an instance: when it goes, the instance is told.
#[derive(Debug)]
pub(crate) struct Lifeline(pub(crate) Arc<Peg>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.control(Control::Orphaned);
    }
}

/// What others hang on an instance: those who want to know of its end.
pub(crate) struct Peg {
    pub(crate) instance: InstanceId,
    pub(crate) name: Name,
    /// There are orders to be taken; looked at in each poll, so it must cost nothing.
    ordered: AtomicBool,
    state: Mutex<PegState>,
}

/// What an instance is called, put into words only when somebody asks.
#[derive(Clone)]
pub(crate) enum Name {
    Station(Arc<Station>),
    Type(&'static str),
}

impl Name {
    pub(crate) fn text(&self) -> Arc<str> {
        match self {
            Self::Station(station) => station.path.to_string().into(),
            Self::Type(name) => (*name).into(),
        }
    }
}

#[derive(Default)]
struct PegState {
    ended: Option<ExitReason>,
    /// The instance is no more, so nobody takes orders. An abandoned one has ended but is not gone.
    gone: bool,
    watchers: Vec<Watcher>,
    /// From the instance's supervisor, its links, and whoever injects faults: a handful in all.
    orders: VecDeque<Control>,
    /// Wakes the instance.
    waker: Option<Waker>,
}

enum Watcher {
    Actor(MonitorId, Recipient<Down>),
    Waiter(oneshot::Sender<ExitReason>),
    Linked(Weak<Peg>),
}

impl std::fmt::Debug for Peg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peg")
            .field("name", &self.name.text())
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Peg {
    pub(crate) fn new(name: Name) -> Arc<Self> {
        let (ordered, state) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { instance: InstanceId::next(), name, ordered, state })
    }

    /// Give the instance an order; one that has ended takes none.
    pub(crate) fn control(&self, control: Control) {
        let mut state = self.lock();
        if !state.gone {
            state.orders.push_back(control);
            self.ordered.store(true, Ordering::Release);
            if let Some(waker) = &state.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Where the instance is to be woken from now on.
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    /// The next order.
    pub(crate) fn take_order(&self) -> Option<Control> {
        if !self.ordered.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.lock();
        let order = state.orders.pop_front();
        self.ordered.store(!state.orders.is_empty(), Ordering::Release);
        order
    }

    /// Resolves with the reason when the instance has ended.
    pub(crate) fn wait(&self) -> oneshot::Receiver<ExitReason> {
        let (sender, waiter) = oneshot::channel();
        let mut state = self.lock();
        match &state.ended {
            Some(reason) => _ = sender.send(reason.clone()),
            None => state.watchers.push(Watcher::Waiter(sender)),
        }
        waiter
    }

    /// The instance is no more.
    pub(crate) fn end(&self, reason: &ExitReason) {
        {
            let mut state = self.lock();
            state.gone = true;
            (state.waker, state.orders) = (None, VecDeque::new());
        }
        self.ended(reason);
    }

    /// The instance counts as ended: tell everybody once.
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

    fn tie(&self, other: &Arc<Peg>) {
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
        self.control(Control::Stop { reason, how: crate::policy::DEFAULT_SHUTDOWN });
    }

    fn lock(&self) -> MutexGuard<'_, PegState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Let `addr` be found until the guard is dropped.
pub(crate) fn enlist<A: Actor>(addr: &Addr<A>, peg: &Arc<Peg>) -> Enlisted {
    let place = place(addr);
    pegs().insert(place, Arc::clone(peg));
    Enlisted(place)
}

/// Takes the instance off the list. Must go before its mailbox goes, whose place in memory is the key.
#[derive(Debug)]
pub(crate) struct Enlisted(usize);

impl Drop for Enlisted {
    fn drop(&mut self) {
        pegs().remove(&self.0);
    }
}

pub(crate) fn find<A: Actor>(addr: &Addr<A>) -> Option<Arc<Peg>> {
    pegs().get(&place(addr)).cloned()
}

/// Whether this instance has not ended yet.
pub(crate) fn lives(instance: InstanceId) -> bool {
    pegs().values().any(|peg| peg.instance == instance)
}

/// What the instance of this number is called, and whether it has been left behind; none if it has no mailbox (any
/// more).
pub(crate) fn name_of(instance: u64) -> Option<(Name, bool)> {
    let peg = pegs().values().find(|peg| peg.instance.number() == instance).cloned()?;
    let left_behind = peg.lock().ended.is_some();
    Some((peg.name.clone(), left_behind))
}

fn pegs() -> MutexGuard<'static, HashMap<usize, Arc<Peg>>> {
    static PEGS: LazyLock<Mutex<HashMap<usize, Arc<Peg>>>> = LazyLock::new(Mutex::default);
    PEGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the mailbox behind `addr` is in memory: what actix hashes of an address, and no two living actors share.
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
