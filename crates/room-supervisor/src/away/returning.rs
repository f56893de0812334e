//! Room that comes from another node to this one: what its edge here has of it.

use callboard_cluster::NodeId;
use tokio::sync::oneshot;

use crate::credit::Credit;
use crate::error::JoinError;
use crate::link::Tag;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::View;
use crate::told_left::ToldLeft;

/// Room that comes from another node to this one.
pub(crate) struct Returning {
    /// Members of this node: what their clients have been told of the members, and the last tag that they were sent.
    pub(crate) members: Vec<(PeerId, View, u64)>,
    pub(crate) tags: Vec<Tag>,
    /// Messages that no home has handled, in the order of each sender.
    pub(crate) messages: Vec<(PeerId, Unhandled)>,
    /// Peers that wait for the decision of the room.
    pub(crate) joins: Vec<(PeerId, Answer)>,
    /// Nodes that had links to the last home.
    pub(crate) edges: Vec<NodeId>,
    /// Peers that have left, as clients of this node were told lately.
    pub(crate) left: ToldLeft,
    /// The last home lives, and is an edge as well.
    pub(crate) has_moved: bool,
}

/// Message that the home has not handled: its number, and the credit that returns when it has.
pub(crate) type Unhandled = (u64, RoomMessage, Credit<Member>);

pub(crate) type Answer = oneshot::Sender<Result<(), JoinError>>;
