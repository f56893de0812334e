//! Clients whose media goes through the server go to the node that has their room: media does not cross between nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_cluster::{Cluster, NodeId};
use callboard_room_supervisor::RoomHandle;
use tokio::time::timeout;

use crate::drain::{move_one, takers, url_of};
use crate::moves::Move;
use crate::peer_ref::PeerRef;

/// Where the nodes of a route's rooms are; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Homes {
    cluster: Cluster,
    /// Whether it was said that a node has no URL.
    said: Arc<AtomicBool>,
}

impl Homes {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), said: Arc::default() }
    }

    /// Sends a client to the home of its room whenever that is another node than this one.
    pub(crate) async fn follow(self, room: RoomHandle, client: PeerRef) {
        loop {
            let home = room.home();
            let changed = room.home_changed(home.as_ref());
            match &home {
                Some(home) if !self.send(&room, &client, home) => {
                    // It may be known, or take clients, in a moment.
                    _ = timeout(AGAIN, changed).await;
                }
                _ => changed.await,
            }
        }
    }

    /// Returns false if that cannot be done now.
    fn send(&self, room: &RoomHandle, client: &PeerRef, home: &NodeId) -> bool {
        // The drain sends all its clients.
        if self.cluster.is_draining() {
            return true;
        }
        let takers = takers(&self.cluster);
        let Some(node) = takers.get(home) else { return false };
        match url_of(node) {
            Some(url) => {
                log::debug!("a client follows room {:?} to node {home}", room.name());
                move_one(client, &Move::to(url).replace_webrtc());
            }
            None if self.said.swap(true, Ordering::Relaxed) => {}
            None => log::warn!(
                "node {home} has no URL without a path: clients of other nodes do not get there for its rooms' media"
            ),
        }
        true
    }
}

/// Time after which a home that takes no clients is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
