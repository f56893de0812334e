//! Rooms that are moved to other nodes.

use callboard_cluster::{Cluster, NodeId};
use callboard_supervision::TreeSnapshot;
use futures_util::future::BoxFuture;

use super::Nodes;
use crate::contain_panic::contain_panic;
use crate::fault::FaultError;

type RoomOf = dyn Fn(&TreeSnapshot) -> Option<String> + Send + Sync;
type MoveRoom = dyn Fn(String, NodeId) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// What the application gives to move rooms.
pub(crate) struct Moves {
    /// Returns the name of the room that an actor is, if it runs here.
    pub(crate) room_of: Box<RoomOf>,
    pub(crate) move_room: Box<MoveRoom>,
}

impl Nodes {
    pub(crate) fn set_moves(&mut self, moves: Moves) {
        self.moves = Some(moves);
    }

    /// Returns whether rooms may be moved.
    pub(crate) fn moves_rooms(&self) -> bool {
        self.moves.is_some()
    }

    /// Returns the name of the room that this actor is, if it runs here and may be moved.
    pub(crate) fn room_of(&self, actor: &TreeSnapshot) -> Option<String> {
        let moves = self.moves.as_ref()?;
        contain_panic("move_room", || (moves.room_of)(actor)).flatten()
    }

    /// Moves a room to a node: this one, or the best of the others.
    pub(crate) async fn move_room(&self, room: String, to: Option<&str>) -> Result<(), FaultError> {
        let moves = self.moves.as_ref().ok_or(FaultError::MoveOff)?;
        let cluster = self.cluster.as_ref().ok_or(FaultError::NoOtherNode)?;
        let to = match to {
            Some(to) => named(cluster, to).ok_or_else(|| FaultError::NoSuchNode(to.to_owned()))?,
            None => idlest(cluster).await.ok_or(FaultError::NoOtherNode)?,
        };
        (moves.move_room)(room, to).await.map_err(FaultError::NotMoved)
    }
}

/// Returns the node of this name.
fn named(cluster: &Cluster, name: &str) -> Option<NodeId> {
    let others = cluster.nodes().into_iter().map(|other| other.node);
    others.chain([cluster.node().clone()]).find(|node| node.as_str() == name)
}

/// Returns the node with the fewest rooms of the others that take rooms; of several, the first by name.
async fn idlest(cluster: &Cluster) -> Option<NodeId> {
    let nodes = cluster.loads().await?.into_iter();
    let others = nodes.filter(|it| it.node != *cluster.node());
    others
        .min_by(|one, other| (one.rooms, &one.node).cmp(&(other.rooms, &other.node)))
        .map(|it| it.node)
}
