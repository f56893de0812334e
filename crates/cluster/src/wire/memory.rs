//! Wire in the memory of this process, with faults for tests.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, poll_fn};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Arrival, Wire};
use crate::node_id::NodeId;

/// Wire in the memory of this process, for a server of one node, and for tests of many. Its clones are one wire: give
/// each node of a test one of them. It can be made to lose, duplicate and delay datagrams, and to be cut.
#[derive(Clone)]
pub struct MemoryWire {
    shared: Arc<Mutex<Nodes>>,
}

/// Faults of a [`MemoryWire`]. Default: none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WireFaults {
    /// Share of the datagrams that are lost, from 0 to 1.
    pub loss: f64,
    /// Share of the datagrams that are delivered twice, from 0 to 1.
    pub duplication: f64,
    /// Time by which each datagram is late, drawn for each: so they overtake each other. Where it is not empty, sending
    /// needs a runtime of Tokio.
    pub delay: Range<Duration>,
}

struct Nodes {
    inboxes: HashMap<NodeId, Vec<mpsc::Sender<Arrival>>>,
    cuts: HashSet<(NodeId, NodeId)>,
    faults: WireFaults,
    random: fastrand::Rng,
}

impl MemoryWire {
    /// Creates a wire without faults.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// Creates a wire whose [faults](Self::set_faults) are drawn from this seed.
    pub fn with_seed(seed: u64) -> Self {
        let nodes = Nodes {
            inboxes: HashMap::new(),
            cuts: HashSet::new(),
            faults: WireFaults::default(),
            random: fastrand::Rng::with_seed(seed),
        };
        Self { shared: Arc::new(Mutex::new(nodes)) }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: WireFaults) {
        self.nodes().faults = faults;
    }

    /// Cuts the way from one node to another, or mends it. The way back is another.
    pub fn cut(&self, from: &NodeId, to: &NodeId, cut: bool) {
        let way = (from.clone(), to.clone());
        let mut nodes = self.nodes();
        if cut {
            nodes.cuts.insert(way)
        } else {
            nodes.cuts.remove(&way)
        };
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryWire {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes();
        f.debug_struct("MemoryWire")
            .field("cuts", &nodes.cuts)
            .field("faults", &nodes.faults)
            .finish_non_exhaustive()
    }
}

impl Default for WireFaults {
    fn default() -> Self {
        Self { loss: 0.0, duplication: 0.0, delay: Duration::ZERO..Duration::ZERO }
    }
}

impl WireFaults {
    /// Sets the share of the datagrams that are lost.
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// Sets the share of the datagrams that are delivered twice.
    pub fn duplication(self, duplication: f64) -> Self {
        Self { duplication, ..self }
    }

    /// Sets the time by which each datagram is late.
    pub fn delay(self, delay: Range<Duration>) -> Self {
        Self { delay, ..self }
    }
}

impl Wire for MemoryWire {
    fn arrivals(&self, here: &NodeId) -> BoxStream<'static, Arrival> {
        let (inbox, mut arrivals) = mpsc::channel(INBOX);
        let mut nodes = self.nodes();
        let inboxes = nodes.inboxes.entry(here.clone()).or_default();
        inboxes.retain(|inbox| !inbox.is_closed());
        inboxes.push(inbox);
        poll_fn(move |cx| arrivals.poll_recv(cx)).boxed()
    }

    fn send(&self, from: &NodeId, to: &NodeId, datagram: Bytes) {
        self.nodes().send(from, to, &datagram);
    }

    fn broadcast(&self, from: &NodeId, datagram: Bytes) {
        let mut nodes = self.nodes();
        let others: Vec<NodeId> = nodes.inboxes.keys().filter(|to| *to != from).cloned().collect();
        others.iter().for_each(|to| nodes.send(from, to, &datagram));
    }
}

impl Nodes {
    fn send(&mut self, from: &NodeId, to: &NodeId, datagram: &Bytes) {
        if self.cuts.contains(&(from.clone(), to.clone())) || self.happens(self.faults.loss) {
            return;
        }
        let copies = 1 + usize::from(self.happens(self.faults.duplication));
        for inbox in self.inboxes.get(to).cloned().unwrap_or_default() {
            for _ in 0..copies {
                let arrival = Arrival { from: from.clone(), datagram: datagram.clone() };
                self.deliver(inbox.clone(), arrival);
            }
        }
    }

    fn deliver(&mut self, inbox: mpsc::Sender<Arrival>, arrival: Arrival) {
        let Range { start, end } = self.faults.delay;
        let delay = start + end.saturating_sub(start).mul_f64(self.random.f64());
        if delay.is_zero() {
            // A full inbox loses it.
            _ = inbox.try_send(arrival);
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                sleep(delay).await;
                _ = inbox.try_send(arrival);
            });
        }
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.f64() < share
    }
}

/// Number of datagrams that wait for a node: more are lost, and then sent again.
const INBOX: usize = 8_192;
