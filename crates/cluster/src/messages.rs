//! Messages to a node's actor.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::error::ClaimError;
use crate::hold::Hold;
use crate::placement::Candidate;
use crate::record::Epoch;

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
    pub(crate) room: String,
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
    pub(crate) answer: oneshot::Sender<()>,
}

/// Give a room back, if it is still held by the hold of this number.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct GiveRoomBack {
    pub(crate) room: Arc<str>,
    pub(crate) number: u64,
}
