//! Messages to a node's actor.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::error::{ClaimError, GiveError};
use crate::hold::Hold;
use crate::node_id::NodeId;
use crate::placement::Candidate;
use crate::record::{Epoch, Given};
use crate::watches::Claimed;

/// Claim a room, and answer with its hold.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ClaimRoom {
    pub(crate) room: Arc<str>,
    pub(crate) answer: oneshot::Sender<Result<Hold, ClaimError>>,
}

/// Answer with the nodes that may open a room; none if a node may have it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ListCandidates {
    /// Room that no node has; none: of no room.
    pub(crate) room: Option<String>,
    pub(crate) answer: oneshot::Sender<Option<Vec<Candidate>>>,
}

/// Say that this node takes no more rooms.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Answer when a node has claimed a room after this epoch.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WatchRoom {
    pub(crate) room: Arc<str>,
    pub(crate) after: Epoch,
    pub(crate) answer: oneshot::Sender<Claimed>,
}

/// Give a room back, if it is still held by the hold of this number.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct GiveRoomBack {
    pub(crate) room: Arc<str>,
    pub(crate) number: u64,
}

/// What is to be done for a room that goes from one node to another.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum MoveRoom {
    /// Give a room to another node, and answer when it is known whether that has it.
    Give { hold: Hold, to: NodeId, answer: oneshot::Sender<Result<Given, GiveError>> },
    /// Expect a room that another node has by this hold, say that it is so, and answer with the hold.
    Expect {
        room: Arc<str>,
        from: Epoch,
        registered: oneshot::Sender<()>,
        answer: oneshot::Sender<Result<Hold, ClaimError>>,
    },
    /// This node has a room, by the word of the one that had it.
    Given { room: Arc<str>, given: Given },
    /// Look which requests of a room that is expected wait no more.
    ExpectNoMore { room: Arc<str> },
}
