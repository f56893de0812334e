//! Relay: hands packets that come from other media threads to the viewers on its own, so that a batch changes
//! threads once for all of them.

use std::sync::Arc;

use actix::prelude::*;

use crate::messages::{MediaPacket, ToRelay};
use crate::shared::Shared;

/// Relay of one media thread.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    thread: usize,
}

impl Relay {
    pub(crate) fn new(shared: &Arc<Shared>, thread: usize) -> Self {
        Self { shared: Arc::clone(shared), thread }
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(way) = self.shared.relays.get(self.thread) {
            way.leads_to(ctx.address().recipient());
        }
    }
}

impl Handler<ToRelay> for Relay {
    type Result = ();

    fn handle(&mut self, ToRelay { packets, viewers }: ToRelay, _: &mut Context<Self>) {
        let packets: Arc<[_]> = packets.iter().map(copy).collect();
        for viewer in viewers.iter() {
            viewer.hand(&packets);
        }
    }
}

/// Copies a packet with its payload: threads that share one take the count of its users from each other for each of
/// them.
fn copy(media: &MediaPacket) -> MediaPacket {
    let mut copy = media.clone();
    copy.packet.payload = Arc::from(&*media.packet.payload);
    if let Some(plain) = &mut copy.plain {
        plain.frame = Arc::from(&*plain.frame);
    }
    copy
}

/// Batches that wait at most, of all publishers on other threads.
const MAILBOX: usize = 1_024;
