//! Drain of a node of a cluster: its clients go to other nodes with their sessions, before the process ends.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_cluster::{Cluster, NodeId, NodeView, SessionState};
use callboard_room_supervisor::{MovedRooms, RoomHandle, Rooms};
use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::moves::Move;
use crate::peer_ref::PeerRef;
use crate::room_peers::RoomPeers;

/// Drain of a node of a cluster, for a deploy: the node takes no more rooms and clients, and its clients are
/// [moved](crate::PeerRef::move_by) to other nodes with their sessions, those of a room at the same time. A client that
/// does not go by itself is disconnected with 1001 when all have been told, and resumes its session wherever it comes
/// back. Cheap to clone.
///
/// Its rooms go first ([`Rooms::move_all`]), with their state, so that their clients notice nothing of that; one that
/// cannot be moved opens anew at another node once this one has ended.
///
/// Clients go to the node that has their room, where that has a [URL](callboard_cluster::ClusterBuilder::url) without a
/// path, or else to the address with which they have begun: that of a load balancer. A client without a session, where
/// the route has no [grace period](crate::PeerOptions::resume_grace), joins anew.
///
/// Where no other node takes clients, because there is none or all are drained, they are not waited for: they are told
/// "Room closed" and closed with 1001, as at any shutdown.
///
/// A peer connection cannot be moved: `callboard.js` opens another one and closes the first one when that carries
/// media; this node keeps it for up to 10 s.
///
/// ```no_run
/// # use std::time::Duration;
/// # use callboard_cluster::Cluster;
/// # use callboard_room_supervisor::Rooms;
/// # use callboard_signaling::{Drain, Run, Serve};
/// # async fn serve(cluster: Cluster, rooms: Rooms, server: impl Serve) -> std::io::Result<()> {
/// let drain = Drain::new(&rooms).spread(Duration::from_secs(5));
/// // `Admin::builder(tree).readiness(move || drain.readiness())` lets `/readyz` say it.
/// Run::new()?.rooms(&rooms).drain_on_sigterm(&drain).serve(server).await
/// # }
/// ```
#[derive(Clone)]
pub struct Drain {
    rooms: Rooms,
    spread: Duration,
    timeout: Duration,
    begun: Arc<watch::Sender<bool>>,
}

impl Drain {
    /// Creates the drain of these rooms, which must have a [cluster](callboard_room_supervisor::RoomsBuilder::cluster)
    /// with [lines](callboard_cluster::ClusterBuilder::wire): without, nothing is drained.
    pub fn new(rooms: &Rooms) -> Self {
        let begun = Arc::new(watch::Sender::new(false));
        Self { rooms: rooms.clone(), spread: SPREAD, timeout: TIMEOUT, begun }
    }

    /// Sets in which time the clients are told, evenly, so that they do not all come to the other nodes at once.
    /// Default: 10 s.
    pub fn spread(self, spread: Duration) -> Self {
        Self { spread, ..self }
    }

    /// Sets how long the whole drain may take: the longest time for clients that were disconnected to come back to
    /// another node, while this one keeps their sessions. Those that have not are gone then. Default: 60 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Begins the drain, and so the end of the [`Run`](crate::Run) that it was given to. Does nothing if it has begun.
    pub fn begin(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.drain();
        }
        self.begun.send_replace(true);
    }

    /// Returns whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Returns what `/readyz` of `callboard-admin` is to say ([`AdminBuilder::readiness`]): `Err` with
    /// `"draining": true` once it has begun.
    ///
    /// [`AdminBuilder::readiness`]: https://docs.rs/callboard-admin/latest/callboard_admin/struct.AdminBuilder.html
    pub fn readiness(&self) -> Result<Map<String, Value>, Map<String, Value>> {
        match self.has_begun() {
            true => Err(Map::from_iter([("draining".to_owned(), true.into())])),
            false => Ok(Map::new()),
        }
    }

    /// Resolves when the drain has begun.
    pub(crate) async fn begins(&self) {
        // It fails for a sender that is gone, which this holds.
        _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// Drains; returns when no client is left, or the time is over.
    pub(crate) async fn run(&self) {
        self.begin();
        let deadline = Instant::now() + self.timeout;
        let Some(cluster) = self.cluster() else { return };
        if takers(cluster).is_empty() {
            log::warn!("nothing is drained: there is no other node");
            return;
        }
        let drained = timeout_at(deadline, async {
            // Then their clients follow them.
            match timeout(self.timeout / 3, self.rooms.move_all()).await {
                Ok(MovedRooms { moved, stayed, .. }) => {
                    log::info!("{moved} rooms are at other nodes, {stayed} were not moved");
                }
                Err(_) => log::warn!("not all rooms have gone to other nodes in time"),
            }
            self.move_clients(cluster).await;
            let keepers = self.rooms.keepers();
            // Once the others are drained as well, clients have nowhere to go.
            while !takers(cluster).is_empty() {
                join_all(keepers.iter().map(|keeper| keeper.disconnect())).await;
                // One may have come while the others were disconnected.
                let left = join_all(keepers.iter().map(|keeper| keeper.left()));
                if timeout(AGAIN, left).await.is_ok() {
                    return true;
                }
            }
            false
        });
        match drained.await {
            Ok(true) => log::info!("drained: no clients are left here"),
            Ok(false) => log::warn!("not all clients have come to other nodes: there is none now"),
            Err(_) => log::warn!("not all clients have come to other nodes in {:?}", self.timeout),
        }
    }

    /// Returns the cluster, if peers can go from one node to another.
    fn cluster(&self) -> Option<&Cluster> {
        self.rooms.cluster().filter(|cluster| cluster.lines().is_some())
    }

    /// Tells the clients to move, in time.
    async fn move_clients(&self, cluster: &Cluster) {
        let rooms = self.rooms.list().into_iter().filter(|room| room.home().is_some());
        let rooms: Vec<_> = rooms.map(|room| (room.clients(), room)).collect();
        let all = rooms.iter().map(|(clients, _)| clients.len()).sum();
        let began = Instant::now();
        let mut before = 0;
        for (clients, room) in &rooms {
            let to = target(room, &takers(cluster));
            for (place, client) in clients.iter().enumerate() {
                sleep_until(began + due(self.spread, all, (before, clients.len()), place)).await;
                move_one(client, &to);
            }
            before += clients.len();
        }
        sleep_until(began + self.spread + GOES_WITHIN).await;
    }
}

/// Returns when a client is told: each room has its share of the time, and its clients go at the start of that share.
fn due(spread: Duration, all: usize, (before, room): (usize, usize), place: usize) -> Duration {
    let share = |clients: usize| spread.mul_f64(as_f64(clients) / as_f64(all.max(1)));
    let together = share(room).min(TOGETHER);
    share(before) + together.mul_f64(as_f64(place) / as_f64(room.max(1)))
}

fn as_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Tells a client to move, with its session if it has one.
pub(crate) fn move_one(client: &PeerRef, to: &Move) {
    let with_session = to.clone().resume();
    // One without a session joins anew; one that is gone needs nothing.
    if client.move_by(&with_session).is_err() {
        _ = client.move_by(to);
    }
}

/// Returns the nodes to which clients can go.
pub(crate) fn takers(cluster: &Cluster) -> HashMap<NodeId, NodeView> {
    let nodes = cluster.nodes().into_iter().filter(|node| node.state == SessionState::Up);
    nodes.map(|node| (node.node.clone(), node)).collect()
}

/// Returns where the clients of a room go.
fn target(room: &RoomHandle, takers: &HashMap<NodeId, NodeView>) -> Move {
    let to = match room.home().and_then(|home| url_of(takers.get(&home)?)) {
        Some(url) => Move::to(url),
        None => Move::to_first_address(),
    };
    to.replace_webrtc()
}

/// Returns the URL that leads clients to a room at this node by the path that they know.
pub(crate) fn url_of(node: &NodeView) -> Option<String> {
    node.url.clone().filter(|url| has_no_path(url))
}

fn has_no_path(url: &str) -> bool {
    let authority = url.find("://").map_or(0, |at| at + 3);
    !url[authority..].trim_end_matches('/').contains('/')
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("spread", &self.spread)
            .field("timeout", &self.timeout)
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}

const SPREAD: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time in which the clients of a room are told: they see each other's media only where they both are.
const TOGETHER: Duration = Duration::from_secs(1);
/// Time after which clients that are still there are disconnected again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time that the last client has to go.
const GOES_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_evenly_and_those_of_a_room_together() {
        let ms = |clients: usize, before: usize, room: usize, place: usize| {
            due(SPREAD, clients, (before, room), place).as_millis()
        };
        // Ten rooms of two.
        assert_eq!((ms(20, 0, 2, 0), ms(20, 0, 2, 1)), (0, 500));
        assert_eq!((ms(20, 18, 2, 0), ms(20, 18, 2, 1)), (9_000, 9_500));
        // A small room before a large one.
        assert_eq!((ms(1_000, 2, 998, 0), ms(1_000, 2, 998, 499)), (20, 520));
        assert_eq!(ms(1, 0, 1, 0), 0);
    }

    #[test]
    fn only_urls_without_a_path_lead_to_the_room_by_the_path_that_a_client_knows() {
        for (url, expected) in
            [("wss://b", true), ("wss://b:443/", true), ("wss://b/nodes/2", false)]
        {
            assert_eq!(has_no_path(url), expected, "{url}");
        }
    }
}
