//! Members of an earlier home of the room, which an edge offers.

use std::mem::take;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use callboard_cluster::NodeId;
use callboard_outbox::Outbox;

use super::{Guest, Guests, limits};
use crate::command::RoomCommand;
use crate::link::{Joining, Offer, Refusal, Tag};
use crate::member::{Member, NewMember};
use crate::membership::Membership;
use crate::peer_id::PeerId;
use crate::roster::{Offered, View};
use crate::tenure::ROOM_LOST;

impl Guests {
    /// Keeps a member that an earlier home has admitted, until all of the edge are offered.
    pub(super) fn offer(&mut self, offer: Offer, payload: &Bytes) {
        let Offer { seat, peer, texts, messages, bytes, seen, view } = offer;
        let view: View = match view {
            Some(peers) => Arc::new(peers),
            None => self.offers.last().map(|(_, last)| Arc::clone(&last.view)).unwrap_or_default(),
        };
        let Some((auth, welcome)) = Joining::read(peer, &texts, payload.clone()) else {
            return self.joined.push((seat, Some(Refusal::RoomUnavailable)));
        };
        let outbox = Arc::new(Outbox::new(limits(messages, bytes)));
        let (member, _) = Member::new(NewMember::new(auth, outbox).welcome(welcome).guest());
        self.offers.push((seat, Offered { member, view, seen }));
    }

    /// Gives the room the members that the edge has offered.
    /// `left` are peers of whom clients of that node were told that they have left.
    pub(super) fn offered(
        &mut self,
        tags: Vec<Tag>,
        edges: Vec<NodeId>,
        left: Vec<PeerId>,
        ctx: &mut Context<Self>,
    ) {
        self.is_known = true;
        let told_left = self.room.shared.roster().were_told_left(left);
        for member in &told_left {
            self.room.shared.close_member(member, &"elsewhere".into(), ROOM_LOST);
        }
        let offers = take(&mut self.offers);
        for (seat, offered) in offers {
            let member = offered.member.clone();
            match self.room.shared.offer(offered) {
                Ok(()) => {
                    let outbox = Arc::clone(member.outbox());
                    let socket = outbox.attach_shared(&self.socket(ctx));
                    let membership = Arc::new(Membership::new(self.room.clone(), member));
                    let guest = Guest { membership, outbox, socket, joining: None };
                    self.guests.insert(seat, guest);
                }
                Err(error) => self.joined.push((seat, Some(error.into()))),
            }
        }
        self.room.shared.offered_all(self.link.node(), tags, edges);
        // They learn for which nodes the room waits.
        self.room.shared.tenure().inspect(|tenure| tenure.tell_guests());
        if let Some(mailbox) = self.room.shared.mailbox() {
            // One for each edge.
            mailbox.do_send(RoomCommand::AdoptOffered);
        }
    }

    /// Returns whether clients were told that this peer has left, though it may not know it.
    pub(super) fn was_told_left(&self, peer: PeerId) -> bool {
        self.room.shared.roster().was_told_left(peer)
    }

    /// Notes that the guests leave though their node has not said so: it may live, and offer them again.
    pub(super) fn lose_node(&self) {
        let peers = self.guests.values().map(|guest| guest.membership.peer_id());
        self.room.shared.roster().lost_node_of(peers);
    }
}
