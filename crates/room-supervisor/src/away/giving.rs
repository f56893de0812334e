//! Peers that go on at another node, with their clients: how this one gives them.
//!
//! The room's home keeps the membership meanwhile, with all that is sent to the peer. What waits for the client at the
//! node that it leaves goes with it, and comes before that.

use std::any::Any;

use callboard_outbox::{CloseFrame, OutboxLimits};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::command::RoomCommand;
use crate::hand_over::{GivenPeer, PeerKeeper};
use crate::handle::RoomHandle;
use crate::link::{Joining, Progress, Taken};
use crate::member::Member;

/// Stops the peer of a token here; returns what another node needs to go on with it, and what is dropped when that has
/// it.
pub(super) async fn give(
    keeper: &dyn PeerKeeper,
    token: &str,
) -> Option<(Taken, Vec<Vec<u8>>, Box<dyn Any + Send>)> {
    let GivenPeer { kept, membership, guard } = keeper.give(token).await?;
    let room = membership.room();
    let (auth, outbox) = (membership.auth(), membership.outbox());
    // Either the peer goes or the room, one after the other.
    while room.shared.away().is_none() && !room.shared.park(membership.member()) {
        room.shared.rests().await;
    }
    let (waiting, progress) = match room.shared.away() {
        // It waits in the outbox, which stays at home.
        None => {
            let (member, seen) = (membership.member(), room.shared.roster().last_place());
            membership.retire();
            (Vec::new(), Progress { seen, number: member.number() })
        }
        Some(_) => {
            let progress = detach(room, membership.member()).await?;
            membership.retire();
            let waiting = outbox.waiting();
            outbox.close(CloseFrame::NORMAL);
            (waiting, progress)
        }
    };
    let joining = Joining::new(auth, &Map::new());
    let data = serde_json::to_vec(&kept.data).unwrap_or_else(|_| Value::Null.to_string().into());
    let OutboxLimits { messages, bytes } = outbox.limits();
    let taken = Taken {
        room: room.name().to_owned(),
        peer: kept.peer_id,
        grace_ms: u64::try_from(kept.grace.as_millis()).unwrap_or(u64::MAX),
        messages,
        bytes,
        known: joining.lengths(),
        kept: data.len(),
        waiting: waiting.iter().map(|text| text.len()).collect(),
        progress,
    };
    let texts = waiting.iter().map(|text| text.as_bytes().to_vec());
    let known = joining.payload().into_iter().map(<[u8]>::to_vec);
    Some((taken, known.chain([data]).chain(texts).collect(), guard))
}

/// Ends the seat of a peer at the room's home; returns when all has come that was sent to it here.
async fn detach(room: &RoomHandle, member: &Member) -> Option<Progress> {
    let (answer, detached) = oneshot::channel();
    let member = member.clone();
    // Once for each peer.
    room.shared.mailbox()?.do_send(RoomCommand::Detach { member, answer });
    detached.await.ok()
}
