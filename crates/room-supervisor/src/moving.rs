//! Members and rooms that are on their way from one node to another.

use std::sync::Arc;
use std::time::Duration;

use callboard_outbox::CloseFrame;
use tokio::time::sleep;

use crate::command::{Leave, RoomCommand};
use crate::member::Member;
use crate::peer_id::PeerId;
use crate::shared::{Shared, put};
use crate::wake_ups::WakeUps;

/// Room that is about to go to another node. Dropped, it is so no more.
pub(crate) struct Moving(Arc<Shared>);

impl Shared {
    /// Keeps a member that is on its way to another node, for a while. What is sent to it waits in its outbox. Returns
    /// false if the room itself is on its way: wait until it is there.
    pub(crate) fn park(self: &Arc<Self>, member: &Member) -> bool {
        {
            let roster = self.roster();
            if roster.is_moving() {
                return false;
            }
            self.parked.lock().push(member.clone());
        }
        // Not while anything is locked: it may be the last handle.
        member.remove_handle();
        let (shared, member) = (Arc::clone(self), member.clone());
        actix::spawn(async move {
            sleep(PARKED).await;
            if shared.parked.take_if(|parked| parked.is_same(&member)).is_some() {
                shared.end_membership(&member);
            }
        });
        true
    }

    /// Returns a member that has arrived.
    pub(crate) fn unpark(&self, peer: PeerId) -> Option<Member> {
        self.parked.take_if(|parked| parked.peer_id() == peer)
    }

    /// Asks the room to stop where it is, because it is about to go to another node. None if it is so already, if a
    /// member is on its way, or if the room does not run.
    pub(crate) fn begin_to_move(self: &Arc<Self>, leave: Leave) -> Option<Moving> {
        let mailbox = self.mailbox()?;
        let mut roster = self.roster();
        if !self.parked.lock().is_empty() || !roster.set_moving(true) {
            return None;
        }
        // While the roster is locked: what comes later knows that the room is on its way. One for each move.
        mailbox.do_send(RoomCommand::Leave(leave));
        drop(roster);
        Some(Moving(Arc::clone(self)))
    }

    /// Lets in the members that have come with the room from another node, if they are known not to be asked about, and
    /// puts what the server has sent meanwhile into the outboxes of all.
    pub(crate) fn gathered(&self, members: Option<Vec<PeerId>>) {
        let (mut roster, wake_ups) = (self.roster(), WakeUps::default());
        if let Some(members) = members {
            roster.arrived(members);
        }
        let held_back = roster.has_gathered();
        let put = |message| put(&mut roster, &message, None, &wake_ups).unwrap_or_default();
        let full: Vec<_> = held_back.into_iter().flat_map(put).collect();
        drop(roster);
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
        wake_ups.flush();
        self.notify();
    }

    /// Waits until the room is not about to go to another node, and has its members if it has come from one.
    pub(crate) async fn rests(&self) {
        let rests = |room: &Self| {
            let roster = room.roster();
            !roster.is_moving() && !roster.is_gathering()
        };
        self.wait_until(rests).await;
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.roster().set_moving(false);
        shared.notify();
        if let Some(tenure) = shared.tenure() {
            // What they have put off.
            tenure.tell_guests();
        }
    }
}

/// Time in which a peer that has left one node must arrive at another.
const PARKED: Duration = Duration::from_secs(10);
