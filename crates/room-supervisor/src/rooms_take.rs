//! Peers that come from another node of a cluster, with their clients: how this one takes them.

use std::sync::Weak;
use std::time::Duration;

use bytestring::ByteString;
use callboard_cluster::NodeId;
use callboard_outbox::{Outbox, OutboxLimits};
use serde_json::Map;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::AuthData;
use crate::command::{RoomCommand, ask};
use crate::error::JoinError;
use crate::hand_over::{PeerKeeper, RestoredPeer};
use crate::handle::RoomHandle;
use crate::link::{OpenError, Progress};
use crate::member::{Member, NewMember};
use crate::membership::Membership;
use crate::rooms::Rooms;

/// Reason why a peer cannot be taken over from another node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakePeerError {
    /// The node has no peer with this token, nor has the one to which it has gone from there: it has ended.
    #[error("the node has no such peer")]
    NoSuchPeer,
    /// The node does not answer, or this one has no lines.
    #[error("the node is not reached")]
    Unreachable,
    /// The peer was taken, but is no member of its room any more: it leaves.
    #[error("the room of the peer is not available")]
    RoomUnavailable,
}

impl Rooms {
    /// Takes a peer over from another node of the cluster, whose client has come to this one: it goes on here as a
    /// member of its room, with all that waits for its client, and stops there. `token` is what the keeper there knows
    /// it by, and `keeper` the one that takes it here; nodes register their keepers in the same order. Of several nodes
    /// that ask for a peer, one gets it. If the node, which may be this one, has given the peer to another, within the
    /// time for which its client may stay away, the peer is taken from there.
    ///
    /// # Errors
    /// [`TakePeerError`]
    pub async fn take_peer(
        &self,
        keeper: &Weak<dyn PeerKeeper>,
        node: &NodeId,
        token: &str,
    ) -> Result<RestoredPeer, TakePeerError> {
        let hub = self.shared.hub.as_ref().ok_or(TakePeerError::Unreachable)?;
        let keeper = self.shared.hand_over.number_of(keeper).ok_or(TakePeerError::NoSuchPeer)?;
        let is_here = self.cluster().is_some_and(|cluster| cluster.node() == node);
        let other = (!is_here).then(|| node.clone());
        let taking = timeout(TAKING, hub.take(other, (keeper, token))).await;
        // Until it is a member here, the other node must not end: it may be the room's home.
        let (taken, payload, _link) =
            taking.map_err(|_| TakePeerError::Unreachable)?.map_err(|error| match error {
                OpenError::NotThere => TakePeerError::NoSuchPeer,
                OpenError::Unreachable => TakePeerError::Unreachable,
            })?;
        let (peer, room) = (taken.peer, taken.room.clone());
        let Some((auth, data, waiting)) = taken.read(payload) else {
            log::warn!("node {node} gives peer {peer}, which cannot be read");
            return Err(TakePeerError::RoomUnavailable);
        };
        let limits = OutboxLimits { messages: taken.messages, bytes: taken.bytes };
        let until = Instant::now() + Duration::from_millis(taken.grace_ms);
        let adopting = self.adopt(&room, (auth, taken.progress), limits, waiting);
        match timeout(ADOPTING, adopting).await {
            Ok(membership) => Ok(RestoredPeer::new(membership, data, until)),
            Err(_) => {
                log::warn!("peer {peer} of node {node} does not come into room {room:?} here");
                Err(TakePeerError::RoomUnavailable)
            }
        }
    }

    /// Makes a peer of this node a member that comes from another one. Tries again while the room is on its way as
    /// well.
    async fn adopt(
        &self,
        room: &str,
        (auth, progress): (AuthData, Progress),
        limits: OutboxLimits,
        waiting: Vec<ByteString>,
    ) -> Membership {
        loop {
            if let Ok(room) = self.find_or_open(room).await {
                room.running().await;
                let adopted = match room.shared.away() {
                    None => adopt_here(&room, &auth, &waiting),
                    Some(_) => adopt_away(&room, (&auth, progress), limits, &waiting).await,
                };
                if let Some(membership) = adopted {
                    return membership;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

fn adopt_here(room: &RoomHandle, auth: &AuthData, waiting: &[ByteString]) -> Option<Membership> {
    let member = room.shared.unpark(auth.peer_id)?;
    member.set_guest(false);
    room.shared.roster().settle(auth.peer_id, u64::MAX);
    member.outbox().put_back(waiting.to_vec());
    Some(Membership::new(room.clone(), member))
}

async fn adopt_away(
    room: &RoomHandle,
    (auth, progress): (&AuthData, Progress),
    limits: OutboxLimits,
    waiting: &[ByteString],
) -> Option<Membership> {
    let mailbox = room.shared.mailbox()?;
    let outbox = Outbox::holding(limits, waiting.to_vec());
    let (member, _) = Member::new(NewMember::new(auth.clone(), outbox.into()));
    room.shared.reserve(member.clone(), Map::new()).ok()?;
    // Dropped, it leaves.
    let membership = Membership::new(room.clone(), member.clone());
    let adopted = ask(&mailbox, |answer| RoomCommand::Adopt { member, progress, answer }).await;
    matches!(adopted, Ok(Ok::<(), JoinError>(()))).then_some(membership)
}

/// Time limit for the other node to give a peer.
const TAKING: Duration = Duration::from_secs(5);
/// Time limit for the room's home to take it.
const ADOPTING: Duration = Duration::from_secs(5);
/// Time after which it is tried again.
const PAUSE: Duration = Duration::from_millis(50);
