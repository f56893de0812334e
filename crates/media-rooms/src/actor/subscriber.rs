//! Subscriber: writes to one participant's connection what its slots carry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use callboard_peer_connection::messages::{WriteRtp, WriteRtpBatch};
use callboard_peer_connection::{
    RtpCodecCapability, RtpPacket, SenderId, TrackKind, TransceiverId, Vp8Rewrite,
};

use crate::core::rewrite::{Position, Rewriter, Rewritten};
use crate::core::switch::{Switch, Verdict};
use crate::event::{ParticipantId, TrackId};
use crate::messages::{MediaPacket, ToPublisher, ToSubscriber};
use crate::shared::{Seat, Shared};
use crate::stage;

/// Subscriber of one participant.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    slots: Vec<Slot>,
    /// Places of the slots that carry something.
    places: HashMap<TrackId, usize>,
}

/// A slot, and what flows in it.
struct Slot {
    transceiver: TransceiverId,
    sender: SenderId,
    track: Option<TrackId>,
    publisher: Option<Arc<Seat>>,
    /// The publisher's payload types, and what they are on this connection.
    payload_types: HashMap<u8, u8>,
    switch: Switch,
    rewriter: Rewriter,
    position: Arc<Mutex<Option<Position>>>,
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

impl Slot {
    fn new(assigned: &stage::Slot) -> Self {
        let position = Arc::clone(&assigned.position);
        let clock_rate = match assigned.kind {
            TrackKind::Audio => 48_000,
            TrackKind::Video => 90_000,
        };
        let last = *position.lock().unwrap_or_else(PoisonError::into_inner);
        let rewriter = match last {
            Some(last) => Rewriter::resume(clock_rate, last),
            None => Rewriter::new(clock_rate, random()),
        };
        Self {
            transceiver: assigned.transceiver,
            sender: assigned.sender,
            track: None,
            publisher: None,
            payload_types: HashMap::new(),
            switch: Switch::default(),
            rewriter,
            position,
        }
    }

    /// Lets this track flow in the slot from its next key frame on.
    fn carry(&mut self, assigned: &stage::Slot, track: Option<&stage::Track>, shared: &Shared) {
        let id = track.map(|track| track.info.id);
        let is_new = self.track != id;
        (self.track, self.payload_types) = (id, HashMap::new());
        let Some(track) = track else {
            self.switch.pause();
            return;
        };
        let types = track.codecs.iter();
        let types =
            types.filter_map(|(theirs, codec)| Some((*theirs, counterpart(codec, assigned)?)));
        self.payload_types = types.collect();
        self.publisher = shared.seat(track.info.participant);
        if is_new {
            self.switch.pause();
            self.switch.aim(0, u8::MAX);
            self.want();
        }
    }

    /// Asks for a key frame of what should flow.
    fn want(&self) {
        let encoding = self.switch.waits_for().or(self.switch.current());
        if let (Some(track), Some(encoding), Some(publisher)) =
            (self.track, encoding, &self.publisher)
        {
            // A publisher that has no room for it has enough others.
            publisher.publisher.try_send(ToPublisher::WantKeyframe { track, encoding });
        }
    }

    /// Returns the packet as the participant gets it.
    fn forward(&mut self, media: &MediaPacket) -> Option<RtpPacket> {
        let incoming = media.incoming();
        let Ok(contents) = media.contents else {
            if self.switch.current() == Some(media.encoding) {
                self.rewriter.leave_out(&incoming, false);
            }
            return None;
        };
        let payload_type = *self.payload_types.get(&media.packet.payload_type)?;
        if media.resumes && !contents.entry && self.switch.current().is_some() {
            // Pictures after a pause begin with a key frame.
            self.switch.pause();
            self.switch.aim(0, u8::MAX);
            self.want();
        }
        let rewritten = match self.switch.decide(media.seen(&contents)) {
            Verdict::Ignore => return None,
            Verdict::Begin => self.rewriter.begin(&incoming),
            // What was not forwarded leaves no gap.
            Verdict::Forward if media.resumes => self.rewriter.begin(&incoming),
            Verdict::Forward => self.rewriter.forward(&incoming)?,
            Verdict::LeaveOut => {
                self.rewriter.leave_out(&incoming, true);
                return None;
            }
        };
        let Rewritten { number, timestamp, picture_id, tl0 } = rewritten;
        let mut packet = media.packet.clone();
        packet.payload_type = payload_type;
        (packet.rid, packet.sequence_number, packet.timestamp) = (None, number, timestamp);
        packet.vp8 = picture_id.is_some().then(|| Vp8Rewrite {
            picture_id,
            tl0_picture_index: tl0,
            ..Vp8Rewrite::default()
        });
        Some(packet)
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

/// Returns the payload type of the same codec on the connection of a slot.
fn counterpart(codec: &RtpCodecCapability, slot: &stage::Slot) -> Option<u8> {
    let same = |other: &RtpCodecCapability| other.mime_type.eq_ignore_ascii_case(&codec.mime_type);
    let exact = slot
        .codecs
        .iter()
        .find(|(_, other)| same(other) && other.sdp_fmtp_line == codec.sdp_fmtp_line);
    exact.or_else(|| slot.codecs.iter().find(|(_, other)| same(other))).map(|(number, _)| *number)
}

fn random() -> u16 {
    uuid::Uuid::new_v4().as_u128() as u16
}

/// Batches that wait at most.
const MAILBOX: usize = 256;
