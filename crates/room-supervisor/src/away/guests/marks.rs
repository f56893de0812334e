//! Messages of guests: which of them the room has handled, and when the edge is told.

use std::collections::BTreeMap;
use std::mem::take;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Guest, Guests};
use crate::away::later::Later;
use crate::command::RoomCommand;
use crate::link::{Batch, Seat};

/// Messages of guests, from when they have come until the edge is told that they were handled: for each guest, the
/// number of the last one.
///
/// Mostly the room itself says of a member which of its messages it has handled. It does not of those that it loses
/// when it fails, or of a peer that it does not know any more: behind these, a mark is put into its mailbox.
#[derive(Default)]
pub(super) struct Marks {
    /// Messages that the room has not handled.
    said: BTreeMap<Seat, Said>,
    /// Whether a mark waits in the room's mailbox.
    waits: bool,
    /// Messages that the room has handled, and the edge has not been told of.
    handled: BTreeMap<Seat, u64>,
    /// When it is told.
    later: Later,
}

/// Messages of one guest.
#[derive(Clone, Copy, Default)]
struct Said {
    /// Number of the last one.
    last: u64,
    /// Number of the last one that was found to be handled.
    handled: u64,
}

impl Marks {
    /// Notes that a guest has said something, up to this number.
    pub(super) fn said(&mut self, seat: Seat, number: u64) {
        self.said.entry(seat).or_default().last = number;
        self.later.add(Instant::now(), 1);
    }

    /// Looks which messages the room has handled. What has come of them is in the outboxes by now.
    pub(super) fn look(&mut self, guests: &BTreeMap<Seat, Guest>) {
        let handled = &mut self.handled;
        self.said.retain(|seat, said| {
            // One that has left needs no word.
            let Some(guest) = guests.get(seat) else { return false };
            let number = guest.membership.member().handled().min(said.last);
            if number > said.handled {
                handled.insert(*seat, number);
                said.handled = number;
            }
            number < said.last
        });
    }

    /// Notes that the room has handled these, or has lost them.
    fn passed(&mut self, handled: BTreeMap<Seat, Said>) {
        for (seat, Said { last: number, .. }) in handled {
            if self.said.get(&seat).is_some_and(|said| said.last <= number) {
                self.said.remove(&seat);
            }
            let told = self.handled.entry(seat).or_default();
            *told = number.max(*told);
        }
        self.later.add(Instant::now(), 1);
    }

    /// Returns whether there is nothing to tell by itself.
    pub(super) fn can_wait(&self) -> bool {
        !self.later.is_due(Instant::now(), MANY)
    }

    /// Adds to a batch which messages were handled, if there is other news in it, or if it is time. `last`: in any
    /// case.
    pub(super) fn add_to(&mut self, batch: &mut Batch, last: bool) {
        let now = Instant::now();
        if last || !batch.is_empty() || self.later.is_due(now, MANY) {
            batch.handled.extend(take(&mut self.handled));
            self.later.take();
            self.later.add(now, self.said.len());
        }
    }
}

impl Guests {
    /// Puts a mark behind the messages in the room's mailbox: when it is handled, so are they.
    fn mark(&mut self, ctx: &mut Context<Self>) {
        self.marks.look(&self.guests);
        if self.marks.waits || self.marks.said.is_empty() {
            return;
        }
        let said = self.marks.said.clone();
        let (mark, handled) = oneshot::channel();
        if let Some(mailbox) = self.room.shared.mailbox() {
            // One at a time. If the room fails, it is dropped with the messages.
            mailbox.do_send(RoomCommand::Mark(mark));
        }
        self.marks.waits = true;
        let handled = handled.into_actor(self).map(move |_, this, ctx| {
            this.marks.waits = false;
            // What was not handled before the room has gone, is handled there.
            if this.has_moved() {
                return;
            }
            this.marks.passed(said);
            this.pump(false);
            this.look_again(ctx);
        });
        ctx.spawn(handled);
    }

    /// Tells the edge in time what was handled, though there is no other news.
    pub(super) fn look_again(&mut self, ctx: &mut Context<Self>) {
        if self.marks.later.is_due(Instant::now(), MANY) {
            // What is handled by now is told, and the rest when the mark is.
            self.pump(false);
            self.mark(ctx);
        }
        if let Some(pause) = self.marks.later.look_again(Instant::now()) {
            ctx.run_later(pause, |this, ctx| {
                this.marks.later.looks();
                this.pump(false);
                this.mark(ctx);
                this.wait_for_line(ctx);
                this.look_again(ctx);
            });
        }
    }
}

/// Messages after which the edge is told at once, since that lets guests say more: far fewer than the 1,024 that a peer
/// may have in flight.
const MANY: usize = 64;
