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
use crate::roster::{Offered, View};

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
    pub(super) fn offered(&mut self, tags: Vec<Tag>, edges: Vec<NodeId>, ctx: &mut Context<Self>) {
        let offers = take(&mut self.offers);
        for (seat, offered) in offers {
            let member = offered.member.clone();
            match self.room.shared.offer(offered) {
                Ok(()) => {
                    let outbox = Arc::clone(member.outbox());
                    let socket = outbox.attach(ctx.address().recipient(), None);
                    let membership = Arc::new(Membership::new(self.room.clone(), member));
                    let guest = Guest { membership, outbox, socket, joining: None };
                    self.guests.insert(seat, guest);
                }
                Err(error) => self.joined.push((seat, Some(error.into()))),
            }
        }
        self.room.shared.offered_all(self.link.node(), tags, edges);
        if let Some(mailbox) = self.room.shared.mailbox() {
            // One for each edge.
            mailbox.do_send(RoomCommand::AdoptOffered);
        }
    }
}
