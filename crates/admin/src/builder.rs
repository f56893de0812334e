//! Builder of the admin surface.

#[cfg(feature = "cluster")]
use std::fmt::Display;
use std::sync::{Arc, Mutex};

#[cfg(feature = "cluster")]
use callboard_cluster::{Cluster, NodeId};
#[cfg(feature = "webrtc")]
use callboard_peer_connection::{ConnectionOwners, PeerConnectionId, PeerConnections};
use callboard_supervision::{SupervisorRef, TreeSnapshot};
use callboard_websocket::{MetricSource, TrustedProxies};
#[cfg(feature = "cluster")]
use futures_util::FutureExt;
use serde_json::{Map, Value};
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use crate::access::{Authorization, Tokens};
use crate::admin::{Admin, Annotator, Drain, Inner, Readiness};
#[cfg(feature = "cluster")]
use crate::cluster::Moves;
use crate::cluster::Nodes;
use crate::other_nodes;
use crate::watch;
use crate::webrtc::WebRtc;

/// Builder of [`Admin`].
pub struct AdminBuilder {
    root: SupervisorRef,
    webrtc: WebRtc,
    nodes: Nodes,
    all_nodes: bool,
    annotators: Vec<Box<Annotator>>,
    sources: Vec<Arc<dyn MetricSource>>,
    tokens: Tokens,
    proxies: TrustedProxies,
    readiness: Option<Box<Readiness>>,
    drain: Option<Box<Drain>>,
    node_faults: bool,
}

impl Admin {
    /// Creates a builder for the tree below this supervisor.
    pub fn builder(root: SupervisorRef) -> AdminBuilder {
        AdminBuilder {
            root,
            webrtc: WebRtc::default(),
            nodes: Nodes::default(),
            all_nodes: false,
            annotators: Vec::new(),
            sources: Vec::new(),
            tokens: Tokens::default(),
            proxies: TrustedProxies::default(),
            readiness: None,
            drain: None,
            node_faults: false,
        }
    }
}

impl AdminBuilder {
    /// Adds these peer connections to the tree, with their details. If they run in a tree of their own, that is shown
    /// as a child of the root.
    #[cfg(feature = "webrtc")]
    pub fn connections(mut self, connections: PeerConnections) -> Self {
        self.webrtc.show(connections);
        self
    }

    /// Adds the peer connections of these owners to the tree, each below its owner: [`connections`](Self::connections)
    /// and [`graft`](Self::graft) in one.
    #[cfg(feature = "webrtc")]
    pub fn webrtc(self, owners: &(impl ConnectionOwners + Clone)) -> Self {
        let connections = owners.connections().clone();
        let owners = owners.clone();
        self.connections(connections).graft(move || owners.owned())
    }

    /// Adds the metrics of this node of a cluster, and of its lines to the others.
    #[cfg(feature = "cluster")]
    pub fn cluster(mut self, cluster: &Cluster) -> Self {
        self.nodes.show(cluster);
        self
    }

    /// Sets whether clients with access here see the trees of the other nodes too, and inject faults there, and whether
    /// this node answers those of others: all nodes that say so show each other, over the lines of the
    /// [cluster](Self::cluster). A client that has access to one of them then has it to all. Default: no.
    #[cfg(feature = "cluster")]
    pub fn all_nodes(self, all_nodes: bool) -> Self {
        Self { all_nodes, ..self }
    }

    /// Sets whether clients that may inject faults may also cut off this node of a cluster from the others and from
    /// their engine, and kill its process (`FaultKind::Cut`, `FaultKind::Kill`): here, and with
    /// [`all_nodes`](Self::all_nodes) at each other node that shows all. For tests of what happens then. Default: no.
    #[cfg(feature = "cluster")]
    pub fn node_faults(self, node_faults: bool) -> Self {
        Self { node_faults, ..self }
    }

    /// Sets a function that adds details to actors: the members of a returned object are added to the
    /// [details](crate::Tree::details) of the actor; any other value is added as `note`. It is called for each actor in
    /// each sample, so it must not wait.
    pub fn annotate(
        mut self,
        annotate: impl Fn(&TreeSnapshot) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        self.annotators.push(Box::new(annotate));
        self
    }

    /// Sets a function that shows peer connections, and their handshakes, below the actors that own them: it returns
    /// pairs of such an actor's id and its peer connection. It is called in each sample, so it must not wait.
    #[cfg(feature = "webrtc")]
    pub fn graft(
        mut self,
        owned: impl Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync + 'static,
    ) -> Self {
        self.webrtc.add_owners(owned);
        self
    }

    /// Sets what else decides about readiness, such as a server that is being drained: `Err` makes `/readyz` answer
    /// 503, even if all runs. Either way the members are added to the answer, for every client: no names, no secrets.
    /// Called for each request of `/readyz`, so it must not wait. Default: none.
    ///
    /// A server that can do without something, such as the directory of a cluster for a while, says so by `Ok`: it must
    /// get requests, and must not be restarted.
    pub fn readiness(
        mut self,
        readiness: impl Fn() -> Result<Map<String, Value>, Map<String, Value>> + Send + Sync + 'static,
    ) -> Self {
        self.readiness = Some(Box::new(readiness));
        self
    }

    /// Sets what `POST /cluster/drain` does: begin to drain this node of a cluster, by `Drain::begin` of
    /// `callboard-signaling`. It must not wait. Needs the same authorization as injecting a fault. Default: none; the
    /// route answers 404.
    pub fn drain(mut self, drain: impl Fn() + Send + Sync + 'static) -> Self {
        self.drain = Some(Box::new(drain));
        self
    }

    /// Sets how rooms are moved to other nodes of the [cluster](Self::cluster) (`FaultKind::Move`), by clients that may
    /// inject faults: here, and with [`all_nodes`](Self::all_nodes) at each other node that shows all. `room_of`
    /// returns the name of the room that an actor is, if this node runs it: `Rooms::room_at` of
    /// `callboard-room-supervisor` knows; it is called for each actor in each sample, so it must not wait. `move_room`
    /// moves a room to a node, by
    /// `Rooms::move_room`; it may be dropped before it is done. Default: none; rooms are not moved.
    #[cfg(feature = "cluster")]
    pub fn move_room<F, E>(
        mut self,
        room_of: impl Fn(&TreeSnapshot) -> Option<String> + Send + Sync + 'static,
        move_room: impl Fn(String, NodeId) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let move_room = move |room: String, to: NodeId| {
            let moved = move_room(room, to);
            async move { moved.await.map_err(|error| error.to_string()) }.boxed()
        };
        self.nodes.set_moves(Moves { room_of: Box::new(room_of), move_room: Box::new(move_room) });
        self
    }

    /// Adds what a source counts and measures to the metrics, such as `Signaling::counters` of `callboard-signaling`,
    /// or the [`SocketCounters`](callboard_websocket::SocketCounters) of an application's own route. Those of several
    /// sources are summed.
    pub fn counters(mut self, source: Arc<impl MetricSource>) -> Self {
        self.sources.push(source);
        self
    }

    /// Sets the token that authorizes clients from any address for everything, as `Authorization: Bearer …` or
    /// `?token=…`; others get 401. An empty token is never valid. Default: none; only this machine has access.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { full: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Sets the token that authorizes clients from any address to read the tree, its stream, recoveries and metrics; it
    /// allows no change, and a `POST` gets 403. For Prometheus, or a page that only reads. Without
    /// [`token`](Self::token), requests from this machine without a token are answered as before. An empty token is
    /// never valid. Default: none.
    pub fn read_token(self, token: impl Into<String>) -> Self {
        Self { tokens: Tokens { read: Some(token.into()), ..self.tokens }, ..self }
    }

    /// Sets the reverse proxies whose `Forwarded` and `X-Forwarded-For` are trusted: the address in them decides
    /// whether a request is from this machine, and which address wrong tokens are counted for. Default: none; without a
    /// token, requests through a proxy are not answered.
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Creates the admin routes. They watch the tree from now on, on this thread, which must belong to an actix
    /// [`System`](actix::System).
    pub fn build(self) -> Admin {
        let Self { root, webrtc, annotators, sources, tokens, proxies, readiness, drain, .. } =
            self;
        let (mut nodes, all_nodes) = (self.nodes, self.all_nodes);
        let faults =
            [("drain", drain.is_some()), ("cut", self.node_faults), ("kill", self.node_faults)];
        let faults = faults.into_iter().filter(|(_, allowed)| *allowed).map(|(fault, _)| fault);
        let questions = all_nodes.then(|| nodes.connect(faults.collect())).flatten();
        let (end, ended) = oneshot::channel();
        let inner = Arc::new(Inner {
            root,
            webrtc,
            nodes,
            annotators,
            sources,
            readiness,
            drain,
            node_faults: self.node_faults,
            access: Authorization::new(tokens, proxies),
            sample: tokio::sync::Mutex::default(),
            all_nodes: tokio::sync::Mutex::default(),
            tally: Mutex::default(),
            table: Mutex::default(),
            events: broadcast::channel(EVENTS_QUEUED).0,
            streams: Arc::default(),
            began: Instant::now(),
            _end: end,
        });
        watch::begin(&inner, ended);
        if let Some(questions) = questions {
            actix::spawn(other_nodes::serve(Arc::downgrade(&inner), questions));
        }
        Admin { inner }
    }
}

/// Number of events that wait while a stream's thread is busy.
const EVENTS_QUEUED: usize = 1_024;
