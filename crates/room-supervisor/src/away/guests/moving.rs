//! Guests that go on at another node, by themselves or with their room.

use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use bytes::Bytes;
use callboard_outbox::CloseFrame;
use callboard_supervision::asked_to_stop;
use futures_util::future::select;
use serde_json::Value;
use tokio::time::timeout;

use super::{Guest, Guests, STARTING};
use crate::handle::RoomHandle;
use crate::link::{self, Refusal, Seat, ToEdge, ToHome};
use crate::membership::Membership;
use crate::peer_id::PeerId;
use crate::wake_ups::WakeUps;

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
        self.is_known = true;
        let Some(member) = self.room.shared.unpark(peer) else {
            return self.joined.push((seat, Some(Refusal::RoomUnavailable)));
        };
        let outbox = Arc::clone(member.outbox());
        let socket = outbox.attach_shared(&self.socket(ctx));
        let membership = Arc::new(Membership::new(self.room.clone(), member));
        membership.member().set_guest(true);
        // What it has said at another node comes before.
        self.marks.said(seat, membership.member().number());
        self.guests.insert(seat, Guest { membership, outbox, socket, joining: None });
        self.joined.push((seat, None));
        self.dirty = true;
        self.look_again(ctx);
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
        self.link.send(&ToEdge::Gone, &[]);
        self.guests.clear();
        self.count.store(0, Ordering::Relaxed);
        if let Some(tenure) = self.room.shared.tenure() {
            tenure.remove_guests(&ctx.address().recipient());
        }
        // What the edge's server has sent before it knows that is passed on, until the edge closes the link.
        ctx.run_later(PASSING_ON, |_, ctx| ctx.stop());
    }

    /// Passes on what the server of an edge does to its room, where that is.
    pub(super) fn handle_server(
        &mut self,
        message: ToHome,
        payload: &Bytes,
        ctx: &mut Context<Self>,
    ) {
        match message {
            ToHome::Send { event, to } => {
                let delivered = link::message(event, to, payload).map(|message| {
                    let delivered = self.room.shared.deliver(&message, None, &WakeUps::default());
                    delivered.map_err(|error| error.to_string())
                });
                if let Err(error) = delivered.unwrap_or_else(|error| Err(error.to_string())) {
                    log::debug!("room {:?}: a message of a node: {error}", self.room.name());
                }
            }
            ToHome::Kick { peer, code, reason } => {
                let room = self.room.clone();
                let kick = move || {
                    if let Err(error) = room.kick(peer, code, reason) {
                        log::debug!("room {:?}: a kick by a node: {error}", room.name());
                    }
                };
                if !self.room.shared.roster().is_gathering() {
                    return kick();
                }
                // Beside this actor: the edge may not have offered its members, for which the room waits.
                let shared = Arc::clone(&self.room.shared);
                actix::spawn(async move {
                    _ = timeout(STARTING, shared.rests()).await;
                    kick();
                });
            }
            ToHome::Stop => {
                let details: Value = serde_json::from_slice(payload).unwrap_or_default();
                let (room, shared) = (self.room.clone(), Arc::clone(&self.room.shared));
                if !shared.roster().stop_when_gathered() {
                    return stop_room(room, details);
                }
                // When all that must be told are there. Of the edge none comes, and none leaves before.
                shared.offered_all(self.link.node(), Vec::new(), Vec::new());
                let gathered = async move {
                    let gathered = timeout(STARTING, shared.rests());
                    _ = select(pin!(asked_to_stop()), pin!(gathered)).await;
                };
                ctx.wait(gathered.into_actor(self).map(|(), _, _| stop_room(room, details)));
            }
            _ => {}
        }
    }
}

/// Closes a room. At once: the edge has closed it, and its peers leave now.
fn stop_room(room: RoomHandle, details: Value) {
    room.shared.close(&details, CloseFrame::NORMAL);
    // The actor of the guests ends with the room.
    actix::spawn(async move { room.stop(details).await });
}

/// Longest time for which a home that has given its room away passes on what the server of an edge sends it.
const PASSING_ON: Duration = Duration::from_secs(10);
