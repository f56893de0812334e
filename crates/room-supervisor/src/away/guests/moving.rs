//! Guests that go on at another node, by themselves or with their room.

use std::mem::take;
use std::sync::Arc;

use actix::prelude::*;
use callboard_outbox::CloseFrame;
use serde_json::Value;

use super::{Guest, Guests};
use crate::link::{Refusal, Seat};
use crate::membership::Membership;
use crate::peer_id::PeerId;

impl Guests {
    /// Lets a guest go on to another node, with what waits for it; not while the room itself is about to go.
    pub(super) fn detach(&mut self, seat: Seat) {
        if let Some(guest) = self.guests.get(&seat) {
            let member = guest.membership.member();
            if !self.room.shared.park(member) {
                return self.detaching.push(seat);
            }
        }
        if let Some(Guest { membership, outbox, socket, .. }) = self.guests.remove(&seat) {
            outbox.detach(socket);
            membership.retire();
        }
        self.batch.detached.push(seat);
    }

    /// Takes a guest that has come from another node.
    pub(super) fn adopt(&mut self, seat: Seat, peer: PeerId, ctx: &mut Context<Self>) {
        let Some(member) = self.room.shared.unpark(peer) else {
            return self.joined.push((seat, Some(Refusal::RoomUnavailable)));
        };
        let outbox = Arc::clone(member.outbox());
        let socket = outbox.attach(ctx.address().recipient(), None);
        let membership = Arc::new(Membership::new(self.room.clone(), member));
        membership.member().set_guest(true);
        // What it has said at another node comes before.
        self.marks.said(seat, membership.member().number());
        self.guests.insert(seat, Guest { membership, outbox, socket, joining: None });
        self.joined.push((seat, None));
        self.dirty = true;
        self.look_again(ctx);
    }

    /// Closes the room. At once: the edge has closed it, and its peers leave now.
    pub(super) fn stop_room(&self, details: Value) {
        let room = self.room.clone();
        room.shared.close(&details, CloseFrame::NORMAL);
        // This actor ends with the room.
        actix::spawn(async move { room.stop(details).await });
    }

    /// Returns whether the room has gone to another node.
    pub(super) fn has_moved(&self) -> bool {
        self.room.shared.away().is_some()
    }

    /// Looks whether the room has gone to another node, or does not go.
    pub(super) fn look_where_the_room_is(&mut self, ctx: &mut Context<Self>) {
        if self.has_moved() {
            self.follow_room(ctx);
        } else {
            take(&mut self.detaching).into_iter().for_each(|seat| self.detach(seat));
        }
    }

    /// Tells the edge all that has happened here, and that the room has gone: it goes on there.
    pub(super) fn follow_room(&mut self, ctx: &mut Context<Self>) {
        let Some(away) = self.room.shared.away().filter(|_| !self.is_gone) else { return };
        self.is_gone = true;
        for (&seat, guest) in &mut self.guests {
            let member = guest.membership.member();
            if member.handled() > 0 {
                self.batch.handled.push((seat, member.handled()));
            }
            if let Some(joining) = guest.joining.take() {
                ctx.cancel_future(joining);
                let is_told = self.joined.iter().any(|(told, _)| *told == seat);
                if !is_told && away.was_member(member) {
                    self.joined.push((seat, None));
                }
            }
            guest.membership.retire();
        }
        self.batch.moved = Some(away.node().clone());
        self.dirty = true;
        self.pump(true);
        // Dropped, the link says that the room is not here any more.
        ctx.stop();
    }
}
