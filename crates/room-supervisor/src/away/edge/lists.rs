//! Lists of the members for clients of this node that may have missed who came and went: the home sends them, in order
//! with what else it says.

use super::Edge;
use crate::link::{Seat, ToHome};

impl Edge {
    /// Asks the home for the lists that are owed to clients of this node, unless it was asked before.
    pub(crate) fn ask_for_lists(&mut self) {
        if !self.is_linked {
            // The next home is asked.
            return;
        }
        let mut lists = Vec::new();
        {
            let mut roster = self.shared.roster();
            for peer in roster.lists_owed().collect::<Vec<_>>() {
                let seat = self.by_peer.get(&peer).copied();
                let guest = seat.and_then(|seat| Some((seat, self.seats.get_mut(&seat)?)));
                match guest {
                    Some((seat, guest)) if guest.is_member && !guest.awaits_list => {
                        guest.awaits_list = true;
                        lists.push(seat);
                    }
                    Some(_) => {}
                    None => roster.list_sent(peer),
                }
            }
        }
        if !lists.is_empty() {
            self.send(&ToHome::Took { batches: 0, lists }, &[]);
        }
    }

    /// Asks another home: the one before may not have answered.
    pub(super) fn ask_again_for_lists(&mut self) {
        self.seats.values_mut().for_each(|guest| guest.awaits_list = false);
        self.ask_for_lists();
    }

    /// Handles that these guests are sent the list.
    pub(super) fn lists_came(&mut self, seats: &[Seat]) {
        let mut roster = self.shared.roster();
        for seat in seats {
            if let Some(guest) = self.seats.get_mut(seat) {
                guest.awaits_list = false;
                roster.list_sent(guest.member.peer_id());
            }
        }
    }
}
