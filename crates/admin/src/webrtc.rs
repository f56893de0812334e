//! Peer connections in the tree: which actors own them, their details, metrics and faults.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use callboard_peer_connection::messages::InjectLoss;
use callboard_peer_connection::{
    OWNER_PREFIX, PeerConnection, PeerConnectionHandle, PeerConnectionId, PeerConnections,
};
use callboard_supervision::{SupervisorRef, TreeSnapshot};
use callboard_transport::mux::MuxCounters;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Map, Value};

use crate::contain_panic::contain_panic;
use crate::details::{All, Details};
use crate::fault::FaultError;
use crate::metric_values::{Labels, counter, family};
use crate::tree::Tree;

/// Peer connections that are shown in the tree, if there are any.
#[derive(Default)]
pub(crate) struct WebRtc {
    connections: Option<PeerConnections>,
    /// Path of the handshakes' supervisor.
    handshakes: Option<String>,
    owners: Vec<Box<Owners>>,
    details: Details,
}

type Owners = dyn Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync;

/// Details of the peer connections at one moment.
pub(crate) struct Known(Option<Arc<All>>);

impl Known {
    /// Adds the details of this node's peer connection, if it is one.
    pub(crate) fn extend(&self, node: &TreeSnapshot, details: &mut Map<String, Value>) {
        if node.type_name == std::any::type_name::<PeerConnection>()
            && let Some(connection) = self.0.as_ref().and_then(|all| all.by_name.get(&*node.id))
        {
            details.extend(connection.shown.clone());
        }
    }
}

impl WebRtc {
    pub(crate) fn show(&mut self, connections: PeerConnections) {
        self.handshakes = Some(connections.handshakes().path().to_string());
        self.connections = Some(connections);
    }

    pub(crate) fn add_owners(
        &mut self,
        owners: impl Fn() -> Vec<(String, PeerConnectionId)> + Send + Sync + 'static,
    ) {
        self.owners.push(Box::new(owners));
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.connections.is_some()
    }

    /// Returns the supervisor of the peer connections.
    pub(crate) fn supervisor(&self) -> Option<&SupervisorRef> {
        self.connections.as_ref().map(PeerConnections::supervisor)
    }

    /// Returns whether the actor at this path is a handshake.
    pub(crate) fn is_handshake(&self, path: &str) -> bool {
        let below = self.handshakes.as_ref().and_then(|above| path.strip_prefix(above.as_str()));
        below.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Asks the peer connections for their details, unless they were asked a moment ago.
    pub(crate) async fn details(&self) -> Known {
        Known(match &self.connections {
            Some(connections) => Some(self.details.all(connections).await),
            None => None,
        })
    }

    /// Returns the peer connections with the ids of their owners.
    fn owned(&self) -> Vec<(String, PeerConnectionId)> {
        self.owners.iter().filter_map(|owned| contain_panic("graft", owned)).flatten().collect()
    }

    /// Shows each peer connection, and its handshake, below its owner.
    pub(crate) fn graft(&self, tree: &mut Tree) {
        tree.nest();
        let owned = self.owned();
        let Some(connections) = self.connections.as_ref().filter(|_| !owned.is_empty()) else {
            return;
        };
        let mut there = HashSet::new();
        tree.ids(&mut there);
        let owned: Vec<(String, String)> = owned
            .into_iter()
            .filter(|(owner, _)| there.contains(owner.as_str()))
            .map(|(owner, connection)| (owner, connection.to_string()))
            .collect();
        let names: HashSet<String> =
            owned.iter().map(|(_, connection)| connection.clone()).collect();
        let mut taken = tree.take(&connections.connections().path().to_string(), &names);
        // A handshake whose peer connection has just ended stays where it is.
        let names: HashSet<String> = taken.keys().cloned().collect();
        let mut handshakes = tree.take(&connections.handshakes().path().to_string(), &names);
        let mut by_owner: HashMap<String, Vec<Tree>> = HashMap::new();
        for (owner, name) in owned {
            let Some(mut connection) = taken.remove(&name) else { continue };
            connection.children.extend(handshakes.remove(&name));
            by_owner.entry(owner).or_default().push(connection);
        }
        tree.graft(&mut by_owner);
    }

    /// Loses this part of the datagrams of the node's peer connection.
    pub(crate) async fn lose(&self, node: &TreeSnapshot, ratio: f64) -> Result<(), FaultError> {
        let connection = self.connection_of(node)?;
        let not_running = |_| FaultError::NotRunning(node.path.to_string());
        let lost = connection.send(InjectLoss { ratio }).await.map_err(not_running)?;
        lost.map_err(|_| FaultError::BadRatio(ratio))
    }

    /// Ends the handshake of the node's peer connection; `failing` is called before.
    pub(crate) async fn fail_handshake(
        &self,
        node: &TreeSnapshot,
        failing: impl FnOnce(&TreeSnapshot),
    ) -> Result<(), FaultError> {
        let connection = self.connection_of(node)?.id();
        let connections = self.connections.as_ref().ok_or(FaultError::NoHandshake)?;
        let (handshakes, name) = (connections.handshakes(), connection.to_string());
        let handshake = handshakes.snapshot();
        failing(handshake.find(&[&name]).ok_or(FaultError::NoHandshake)?);
        handshakes.terminate_child(&name).await.map_err(|_| FaultError::NoHandshake)
    }

    /// Returns the peer connection that this node is, whose handshake it is, or that is shown below it.
    fn connection_of(&self, node: &TreeSnapshot) -> Result<PeerConnectionHandle, FaultError> {
        let none = || FaultError::NoConnection(node.path.to_string());
        let connections = self.connections.as_ref().ok_or_else(none)?;
        let by_name = node.id.parse().ok().map(PeerConnectionId);
        let below = self.owned().into_iter().filter(|(owner, _)| {
            *owner == *node.id || owner.strip_prefix(OWNER_PREFIX) == Some(&*node.id)
        });
        let mut found = by_name.into_iter().chain(below.map(|(_, connection)| connection));
        found.find_map(|id| connections.get(id)).ok_or_else(none)
    }

    /// Registers the metrics of peer connections and their UDP ports.
    pub(crate) async fn register(&self, registry: &mut Registry) {
        let Some(connections) = &self.connections else { return };
        let all = self.details.all(connections).await;
        let states = Family::<Labels, Gauge>::default();
        for state in STATES {
            let count = all.by_name.values().filter(|one| one.state.name() == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            states.get_or_create(&vec![("state", state.to_owned())]).set(count);
        }
        registry.register("peer_connections", "Peer connections", states);
        let running = Gauge::<i64>::default();
        running.set(
            i64::try_from(connections.handshakes().snapshot().children.len()).unwrap_or(i64::MAX),
        );
        registry.register("handshakes", "Handshakes under way", running);
        let directions =
            |sent, received| family("direction", [("sent", sent), ("received", received)]);
        registry.register_with_unit(
            "data_channel",
            "Messages' bytes in data channels, as of the last look at each connection",
            Unit::Bytes,
            directions(all.traffic.data_sent, all.traffic.data_received),
        );
        registry.register(
            "rtp_packets_sent",
            "Packets of media that were sent, as of the last look at each connection",
            counter(all.traffic.packets_sent),
        );
        registry.register(
            "rtp_packets_reported_lost",
            "Packets of media that did not arrive at once, as their receivers have reported",
            counter(all.traffic.packets_lost),
        );

        let sum =
            |of: fn(&MuxCounters) -> u64| connections.mux_counters().iter().map(of).sum::<u64>();
        registry.register(
            "udp_datagrams",
            "Datagrams through the UDP ports",
            directions(sum(|it| it.sent), sum(|it| it.received)),
        );
        registry.register_with_unit(
            "udp",
            "Bytes in the datagrams through the UDP ports",
            Unit::Bytes,
            directions(sum(|it| it.sent_bytes), sum(|it| it.received_bytes)),
        );
        let dropped = [
            ("unclassified", sum(|it| it.unclassified)),
            ("malformed_stun", sum(|it| it.malformed_stun)),
            ("unknown_ufrag", sum(|it| it.unknown_ufrag)),
            ("unknown_transaction", sum(|it| it.unknown_transaction)),
            ("unknown_source", sum(|it| it.unknown_source)),
            ("inbox_full", sum(|it| it.inbox_full)),
            ("send_buffer_full", sum(|it| it.send_buffer_full)),
            ("too_long", sum(|it| it.too_long)),
            ("no_socket", sum(|it| it.no_socket)),
            ("system_error", sum(|it| it.system_errors)),
        ];
        registry.register(
            "udp_datagrams_dropped",
            "Datagrams that the UDP ports dropped",
            family("reason", dropped),
        );
    }
}

impl Tree {
    /// Removes and returns the children of the node at this path that have one of these names.
    fn take(&mut self, path: &str, names: &HashSet<String>) -> HashMap<String, Tree> {
        if self.path != path {
            let mut children = self.children.iter_mut();
            let below = |child: &&mut Tree| {
                path.strip_prefix(&child.path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            return children.find(below).map(|child| child.take(path, names)).unwrap_or_default();
        }
        let (taken, kept) = std::mem::take(&mut self.children)
            .into_iter()
            .partition::<Vec<_>, _>(|child| names.contains(&child.id));
        self.children = kept;
        if !taken.is_empty() {
            self.details.insert("shown_elsewhere".to_owned(), taken.len().into());
        }
        taken.into_iter().map(|child| (child.id.clone(), child)).collect()
    }

    /// Moves each actor that owns the peer connection of another one below that one, beside which it runs.
    fn nest(&mut self) {
        let is_owner = |child: &Tree| child.id.starts_with(OWNER_PREFIX);
        if self.children.iter().any(is_owner) {
            let (owners, mut others) =
                std::mem::take(&mut self.children).into_iter().partition::<Vec<_>, _>(is_owner);
            let places: HashMap<String, usize> =
                others.iter().enumerate().map(|(at, peer)| (peer.id.clone(), at)).collect();
            for owner in owners {
                match places.get(&owner.id[OWNER_PREFIX.len()..]) {
                    Some(&at) => others[at].children.push(owner),
                    None => others.push(owner),
                }
            }
            self.children = others;
        }
        self.children.iter_mut().for_each(Self::nest);
    }

    /// Adds these below their owners.
    fn graft(&mut self, owned: &mut HashMap<String, Vec<Tree>>) {
        for child in &mut self.children {
            child.graft(owned);
        }
        self.children.extend(owned.remove(&self.id).into_iter().flatten());
    }

    /// Collects the ids of all shown actors.
    fn ids<'a>(&'a self, into: &mut HashSet<&'a str>) {
        into.insert(&self.id);
        self.children.iter().for_each(|child| child.ids(into));
    }
}

const STATES: [&str; 6] = ["new", "connecting", "connected", "disconnected", "failed", "closed"];
