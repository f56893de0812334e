//! Subscriber: writes to one participant's connection what its slots carry.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::slot::Slot;
use crate::event::{ParticipantId, TrackId};
use crate::messages::{MediaPacket, ToSubscriber};
use crate::shared::{Seat, Shared};
use actix::prelude::*;
use callboard_peer_connection::messages::{WriteRtp, WriteRtpBatch};

/// Subscriber of one participant.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    slots: Vec<Slot>,
    /// Places of the slots that carry something.
    places: HashMap<TrackId, usize>,
}

impl Subscriber {
    pub(crate) fn new(shared: &Arc<Shared>, id: ParticipantId) -> Self {
        Self {
            seat: shared.seat(id),
            shared: Arc::clone(shared),
            id,
            slots: Vec::new(),
            places: HashMap::new(),
        }
    }

    fn load(&mut self) {
        let mut before: HashMap<_, _> =
            std::mem::take(&mut self.slots).into_iter().map(|slot| (slot.sender, slot)).collect();
        let assigned = self.shared.stage().slots_of(self.id);
        for (assigned, track) in assigned {
            let mut slot = before.remove(&assigned.sender).unwrap_or_else(|| Slot::new(&assigned));
            slot.carry(&assigned, track.as_ref(), &self.shared);
            self.slots.push(slot);
        }
        let carried = self.slots.iter().enumerate();
        self.places = carried.filter_map(|(place, slot)| Some((slot.track?, place))).collect();
    }

    fn forward(&mut self, packets: &[MediaPacket]) {
        let mut batch = Vec::new();
        for media in packets {
            let Some(&place) = self.places.get(&media.track) else { continue };
            let slot = &mut self.slots[place];
            if let Some(packet) = slot.forward(media) {
                batch.push(WriteRtp { sender: slot.sender, packet });
                *slot.position.lock().unwrap_or_else(PoisonError::into_inner) =
                    slot.rewriter.position();
            }
        }
        if let Some(seat) = self.seat.as_ref().filter(|_| !batch.is_empty()) {
            // A connection that has no room loses them, as a network does.
            _ = seat.connection.try_send(WriteRtpBatch(batch));
        }
    }
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(seat) = &self.seat {
            seat.subscriber.leads_to(ctx.address().recipient());
        }
        self.load();
    }
}

impl Handler<ToSubscriber> for Subscriber {
    type Result = ();

    fn handle(&mut self, told: ToSubscriber, _: &mut Context<Self>) {
        match told {
            ToSubscriber::Assign => self.load(),
            ToSubscriber::Refresh(transceiver) => {
                let slots = self.slots.iter().filter(|slot| slot.transceiver == transceiver);
                slots.for_each(Slot::want);
            }
            ToSubscriber::Packets(packets) => self.forward(&packets),
        }
    }
}

/// Batches that wait at most.
const MAILBOX: usize = 256;
