//! A node of a cluster, as its application sees it.

use std::fmt;
use std::fs::{File, TryLockError};
use std::future::ready;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_supervision::{
    ChildSpec, Flags, StartError, StartSupervisorError, SupervisorRef, SupervisorSpec,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::actor::NodeActor;
use crate::clock::Clock;
use crate::core::Timing;
use crate::directory::Directory;
use crate::error::{BuildError, ClaimError};
use crate::facts::ClusterFacts;
use crate::hold::Hold;
use crate::line::{Lines, LinesActor};
use crate::liveness::Liveness;
use crate::messages::{ClaimRoom, ListCandidates, WatchRoom};
use crate::node_id::NodeId;
use crate::nodes::NodeView;
use crate::placement::Candidate;
use crate::presence::{Presence, PresenceError};
use crate::record::Epoch;
use crate::shared::{Name, Shared};
use crate::topics::{PublishError, Subscription};
use crate::wire::Wire;

/// This node of a cluster: it enters the cluster, and claims rooms. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

/// Builder of a [`Cluster`].
pub struct ClusterBuilder {
    directory: Box<dyn Directory>,
    node: Option<String>,
    url: Option<String>,
    zone: Option<String>,
    hold: Duration,
    lock_file: Option<PathBuf>,
    liveness: Option<SocketAddr>,
    wire: Option<Arc<dyn Wire>>,
    clock: Clock,
}

impl Cluster {
    /// Returns a builder of a node of the cluster that has this directory.
    pub fn builder(directory: impl Directory) -> ClusterBuilder {
        ClusterBuilder {
            hold: directory.hold().max(SHORTEST_HOLD),
            directory: Box::new(directory),
            node: None,
            url: None,
            zone: None,
            lock_file: None,
            liveness: None,
            wire: None,
            clock: Clock::Boot,
        }
    }

    /// Returns the specification of the node's actor, for a supervision tree; with a [wire](ClusterBuilder::wire), of a
    /// supervisor of it and of the actor of the lines. Put it before what claims rooms: it is stopped after that, and
    /// then leaves the cluster, so that others may take its rooms at once.
    ///
    /// The node runs once: while an actor of another specification of it runs, one of this does not start.
    pub fn child_spec(&self, id: &str) -> ChildSpec {
        let (shared, spec) = (Arc::clone(&self.shared), self.shared.next_number());
        let Some(lines) = self.shared.lines.clone() else { return node_spec(id, shared, spec) };
        ChildSpec::supervisor(id, move || {
            let lines = Arc::clone(&lines);
            let lines = ChildSpec::new("lines", move || LinesActor::new(Arc::clone(&lines)));
            let node = node_spec("node", Arc::clone(&shared), spec);
            SupervisorSpec::new(Flags::one_for_one()).child(node).child(lines)
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the lines to the other nodes; none without a [wire](ClusterBuilder::wire).
    pub fn lines(&self) -> Option<Lines> {
        self.shared.lines.clone().map(Lines::new)
    }

    /// Starts the node as the root of a tree of its own.
    ///
    /// # Errors
    /// [`StartSupervisorError`], also while the node runs already.
    pub async fn start(&self) -> Result<SupervisorRef, StartSupervisorError> {
        let root = SupervisorSpec::new(Flags::one_for_one()).child(self.child_spec("cluster"));
        root.start_as("node").await
    }

    /// Returns the name of this node.
    pub fn node(&self) -> &NodeId {
        &self.shared.name.node
    }

    /// Returns the address at which this process [listens](ClusterBuilder::liveness) as long as it lives; none without
    /// one, or if it does not listen any more.
    pub fn liveness(&self) -> Option<SocketAddr> {
        self.shared.name.liveness.as_ref().and_then(Liveness::address)
    }

    /// Returns the other nodes whose sessions run, as far as is known, by their names. A session runs until it is
    /// sealed: one of a node that has just died is among them.
    pub fn nodes(&self) -> Vec<NodeView> {
        let own = self.node();
        self.shared.nodes.all().into_iter().filter(|other| other.node != *own).collect()
    }

    /// Says from now on that this node is about to leave ([`SessionState::Draining`](crate::SessionState::Draining)):
    /// it claims no more rooms, but those that it held when a session of it ended and that no other node has had since;
    /// those that it holds stay until they are given back or moved. The node is told that at its next renewal, which is
    /// at once.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Returns whether this node is about to leave.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Cuts this node off from its directory and its wire for this time, as a fault that is injected on purpose:
    /// nothing passes, and no connection ends. Clients still reach the node. Needs a runtime of Tokio.
    pub fn cut_off(&self, time: Duration) {
        self.shared.cut.cut_off(time);
    }

    /// Returns for how long this node's session holds if it is not renewed; none if it has none.
    pub fn lease(&self) -> Option<Duration> {
        self.shared.lease().rest(self.shared.clock)
    }

    /// Publishes a message to those who have [subscribed](Self::subscribe) the topic, on all nodes and on this one: to
    /// each at most once, in no order with messages of other nodes. A message may be lost, for example while the
    /// connection to NATS is. Without a [wire](ClusterBuilder::wire), it goes to this node alone.
    ///
    /// # Errors
    /// [`PublishError`]
    pub fn publish(&self, topic: &str, message: impl Into<Bytes>) -> Result<(), PublishError> {
        if topic.is_empty() {
            return Err(PublishError::BadTopic);
        }
        self.shared.topics.publish(topic, message.into())
    }

    /// Subscribes a topic of 1 to 128 bytes.
    ///
    /// # Errors
    /// [`PublishError::BadTopic`]
    pub fn subscribe(&self, topic: &str) -> Result<Subscription, PublishError> {
        if topic.is_empty() {
            return Err(PublishError::BadTopic);
        }
        self.shared.topics.subscribe(topic)
    }

    /// Announces something on all nodes and on this one, at most once on each. It is sent three times within 1.3 s, so
    /// that a node misses it only if its wire loses all that for so long. Needs a runtime of Tokio.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`]
    pub fn announce(&self, message: impl Into<Bytes>) -> Result<(), PublishError> {
        self.shared.topics.publish("", message.into())
    }

    /// Returns the announcements from now on.
    pub fn announcements(&self) -> Subscription {
        self.shared.topics.subscribe("").expect("an empty topic is short")
    }

    /// Returns the list of who is there on all nodes that has this name of 1 to 64 bytes.
    ///
    /// # Errors
    /// [`PresenceError::BadLength`]
    pub fn presence(&self, name: &str) -> Result<Presence, PresenceError> {
        self.shared.presence.presence(name)
    }

    /// Returns what has happened at this node, for metrics. [`Lines::facts`] tells of its lines.
    pub fn facts(&self) -> ClusterFacts {
        self.shared.counts.facts(self.lease())
    }

    /// Claims a room: if no other node runs it, this one may. A room that this node holds already gives another
    /// handle to the same hold. Waits for at most three tenths of a [hold](ClusterBuilder::hold), also if the thread of
    /// the node's actor is blocked. Needs a runtime of Tokio.
    ///
    /// # Errors
    /// [`ClaimError`]
    pub async fn claim(&self, room: &str) -> Result<Hold, ClaimError> {
        if !(1..=MAX_ROOM_NAME).contains(&room.len()) {
            return Err(ClaimError::BadName(room.to_owned()));
        }
        let claimed = self.wait_for_claim(room).await;
        let counts = &self.shared.counts;
        match &claimed {
            Ok(_) => counts.granted.add_one(),
            Err(ClaimError::Elsewhere(_)) => counts.elsewhere.add_one(),
            Err(_) => counts.unavailable.add_one(),
        }
        claimed
    }

    /// Waits until this node sees that a node has claimed a room after this epoch, and returns which, and its epoch:
    /// who holds it by the former, holds it no more, whether it knows that or not. It may be the same node, whose
    /// session has ended.
    pub async fn claimed_after(&self, room: &str, epoch: Epoch) -> (NodeId, Epoch) {
        let room: Arc<str> = room.into();
        loop {
            if let Some(actor) = self.shared.actor() {
                let (answer, answered) = oneshot::channel();
                let watch = WatchRoom { room: Arc::clone(&room), after: epoch, answer };
                // One for each caller.
                actor.watches.do_send(watch);
                if let Ok(claim) = answered.await {
                    return claim;
                }
            }
            // The node's actor is restarted, or has ended.
            sleep(self.shared.timing.renewal).await;
        }
    }

    /// Returns the nodes that take rooms, this one included, with the numbers of rooms that they have, for a
    /// [`RoomPlacement`](crate::RoomPlacement) to choose from. None if a node has this room, or may have it for all
    /// that is known here. Costs a look at all rooms of the cluster.
    pub async fn candidates(&self, room: &str) -> Option<Vec<Candidate>> {
        self.list_candidates(Some(room.to_owned())).await
    }

    /// Returns the nodes that take rooms, this one included, with the numbers of rooms that they have, in the order of
    /// their names: for a room that some node has, and that is to go to another. None while this node does not know all
    /// of the cluster. Costs a look at all rooms of the cluster.
    pub async fn loads(&self) -> Option<Vec<Candidate>> {
        self.list_candidates(None).await
    }

    async fn list_candidates(&self, room: Option<String>) -> Option<Vec<Candidate>> {
        let (answer, answered) = oneshot::channel();
        // Each caller has one request at a time.
        self.shared.actor()?.candidates.do_send(ListCandidates { room, answer });
        timeout(self.shared.timing.patience, answered).await.ok()?.ok()?
    }

    async fn wait_for_claim(&self, room: &str) -> Result<Hold, ClaimError> {
        let unavailable = || ClaimError::Unavailable { retry_after: self.shared.timing.renewal };
        let actor = self.shared.actor().ok_or_else(unavailable)?;
        let (answer, answered) = oneshot::channel();
        // Each caller has one request at a time; one that waits no more is passed over.
        actor.claims.do_send(ClaimRoom { room: room.into(), answer });
        match timeout(self.shared.timing.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(unavailable()),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.shared.name.node)
            .field("lease", &self.lease())
            .finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    /// Sets the name of the node ([`NodeId`]), which no other has at the same time. Default: a random one, which is
    /// good for nodes that come and go.
    pub fn node(self, name: impl Into<String>) -> Self {
        Self { node: Some(name.into()), ..self }
    }

    /// Sets the URL at which clients reach this node, such as `wss://a1.example.org`: clients that ask another node for
    /// a room of this one are told it. Default: none, they are told to come back later.
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..self }
    }

    /// Sets the place where the node runs, such as a data centre. It is shown to the other nodes. Default: none.
    pub fn zone(self, zone: impl Into<String>) -> Self {
        Self { zone: Some(zone.into()), ..self }
    }

    /// Sets for how long a renewal of the session holds, 1 s at least. The session is renewed five times in that
    /// time; the rooms of a node that dies are free after 1.25 times that time. If nodes of a cluster have different
    /// holds, the longer of both counts when one waits for the end of the other.
    /// Default: the [directory's](Directory::hold), which must not be shortened below its longest pause.
    pub fn hold(self, hold: Duration) -> Self {
        Self { hold: hold.max(SHORTEST_HOLD), ..self }
    }

    /// Sets a file that the process locks as long as the cluster is used. A node that finds the session of an earlier
    /// process under its name then knows that this process has ended, takes its place at once, and the rooms are free;
    /// without, it waits until that session is silent for too long. The file must be the same for all processes that
    /// may have the node's name: give a name that more than one machine may have no lock. Default: none.
    pub fn lock_file(self, path: impl Into<PathBuf>) -> Self {
        Self { lock_file: Some(path.into()), ..self }
    }

    /// Sets an address of this machine at which the process listens as long as it lives, and says who it is to all who
    /// connect: other nodes do so twice in a second. When it refuses connections, two of them (or the only other one)
    /// are proof that the process is dead, and its rooms are free after about a second, and not after 1.25 holds. Port
    /// 0: one that is free.
    ///
    /// Give one only if what refuses connections there, while the process lives, is nothing but its own machine: the
    /// address belongs to this machine for good and goes to no other; nothing between the nodes translates addresses or
    /// stands in for them, and firewalls drop packets and do not reject them. The crate's README says more. The port is
    /// for the other nodes alone. Default: none.
    pub fn liveness(self, address: SocketAddr) -> Self {
        Self { liveness: Some(address), ..self }
    }

    /// Sets what carries [lines](Cluster::lines) to the other nodes, which must have the same wire. Default: none.
    pub fn wire(self, wire: impl Wire) -> Self {
        Self { wire: Some(Arc::new(wire)), ..self }
    }

    #[cfg(test)]
    pub(crate) fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Builds the node, which does not run yet.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn build(self) -> Result<Cluster, BuildError> {
        let Self { directory, node, url, zone, hold, lock_file, liveness, wire, clock } = self;
        let process = Uuid::new_v4();
        let node = NodeId::new(node.unwrap_or_else(|| process.simple().to_string()))?;
        let lock = lock_file.map(lock).transpose()?;
        let timing = Timing::new(hold);
        let listen = |address| Liveness::listen(address, &node, process);
        let liveness = liveness.map(listen).transpose()?;
        let name = Name { node, url, zone, process, lock, liveness };
        let shared = Shared::new(directory, timing, clock, name, wire);
        Ok(Cluster { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("node", &self.node)
            .field("url", &self.url)
            .field("zone", &self.zone)
            .field("hold", &self.hold)
            .field("lock_file", &self.lock_file)
            .field("liveness", &self.liveness)
            .finish_non_exhaustive()
    }
}

/// Returns the specification of the actor of a node.
fn node_spec(id: &str, shared: Arc<Shared>, spec: u64) -> ChildSpec {
    ChildSpec::try_new(id, move || {
        let node = shared.admit(spec).map(|number| NodeActor::new(Arc::clone(&shared), number));
        ready(node.ok_or_else(|| StartError::failed("the node runs already")))
    })
}

/// Opens and locks a file; the lock ends with the process.
fn lock(path: PathBuf) -> Result<File, BuildError> {
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(|error| BuildError::Lock { path: path.clone(), error })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BuildError::Locked(path)),
        Err(TryLockError::Error(error)) => Err(BuildError::Lock { path, error }),
    }
}

/// Longest name of a room, in bytes.
const MAX_ROOM_NAME: usize = 256;
/// Shortest hold: below, a busy machine is too often late.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
