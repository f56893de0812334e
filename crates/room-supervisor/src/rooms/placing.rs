//! Rooms that no node has, and that another node is to open.

use std::sync::{Mutex, Weak};
use std::time::Duration;

use callboard_cluster::{Cluster, IncomingRequest, IncomingRequests, Requests, RoomPlacement};
use futures_util::stream::{StreamExt, unfold};

use super::{Rooms, Shared, lock};

/// Requests of nodes to each other to open rooms, and the policy that says where.
pub(super) struct Placing {
    cluster: Cluster,
    policy: Option<Box<dyn RoomPlacement>>,
    requests: Requests,
    /// Until the rooms begin.
    incoming: Mutex<Option<IncomingRequests>>,
}

impl Placing {
    /// Begins to take requests; none if the cluster has no lines.
    pub(super) fn new(cluster: &Cluster, policy: Option<Box<dyn RoomPlacement>>) -> Option<Self> {
        let requests = cluster.lines()?.requests(SERVICE);
        let (requests, incoming) = requests
            .inspect_err(|error| log::error!("rooms are opened here alone: {error}"))
            .ok()?;
        let (cluster, incoming) = (cluster.clone(), Mutex::new(Some(incoming)));
        Some(Self { cluster, policy, requests, incoming })
    }

    /// Lets another node open a room, if the policy says so and no node has it. Returns when it has, or does not in
    /// time.
    pub(super) async fn place(&self, room: &str) {
        let Some(policy) = &self.policy else { return };
        let Some(nodes) = self.cluster.candidates(room).await else { return };
        let (here, there) = (self.cluster.node(), policy.place(room, &nodes, self.cluster.node()));
        if there != *here
            && let Err(error) = self.requests.ask(&there, room.as_bytes(), OPENING).await
        {
            log::info!("room {room:?} is not opened at node {there}: {error}");
        }
    }

    /// Begins to open rooms for other nodes, on this thread of actix, unless that has begun.
    pub(super) fn begin(&self, rooms: Weak<Shared>) {
        let Some(incoming) = lock(&self.incoming).take() else { return };
        let incoming = unfold(incoming, async |mut incoming| {
            let request = incoming.next().await?;
            Some((request, incoming))
        });
        actix::spawn(incoming.for_each_concurrent(AT_ONCE, move |request| {
            let shared = rooms.upgrade();
            async move {
                if let Some(shared) = shared {
                    open(&Rooms { shared }, request).await;
                }
            }
        }));
    }
}

/// Opens a room for another node, if no node has it.
async fn open(rooms: &Rooms, request: IncomingRequest) {
    let Ok(room) = str::from_utf8(request.body()) else { return };
    let Some(placing) = &rooms.shared.placing else { return };
    if placing.cluster.candidates(room).await.is_some()
        && let Err(error) = rooms.open_on_demand_here(room).await
    {
        log::info!("room {room:?} is not opened for node {}: {error}", request.node());
    }
    request.answer(b"");
}

const SERVICE: &str = "callboard-placing";
/// Longest time for another node to open a room; then this one does.
const OPENING: Duration = Duration::from_secs(2);
/// Rooms that are opened for other nodes at once.
const AT_ONCE: usize = 64;
