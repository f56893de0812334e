//! Delivery of the list of members to clients that may have missed who came and went.

use callboard_outbox::CloseFrame;

use crate::member::Member;
use crate::shared::Shared;
use crate::wake_ups::WakeUps;

impl Shared {
    /// Sends the list of members to those that it is owed to, if the room can say it.
    pub(crate) fn list_members(&self, wake_ups: &WakeUps) {
        // A room that this node has lost says nothing more.
        if self.is_fenced() {
            return;
        }
        let mut roster = self.roster();
        let Some((list, to)) = roster.take_list() else { return };
        let full = wake_ups.put(list.encode(), to.iter().map(Member::outbox));
        drop(roster);
        // Not while the roster is locked: it calls back.
        full.iter().for_each(|outbox| outbox.close(CloseFrame::TOO_SLOW));
    }
}
