//! Subscriber: writes to one participant's connection what its slots carry.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use actix::fut::ActorFuture;
use actix::prelude::*;
use callboard_peer_connection::ReceptionReport;
use callboard_peer_connection::messages::{
    GetBandwidthEstimate, ResetEstimate, SetBitrate, WriteRtp, WriteRtpBatch,
};

use super::slot::Slot;
use crate::core::allocate::{self, Allocator, Bitrate, Demand, Grant, Guide, SpeakerFirst};
use crate::core::layers::OVERHEAD;
use crate::core::traffic::Traffic;
use crate::event::{ParticipantId, TrackId};
use crate::facts::SubscriberFacts;
use crate::messages::{MediaPacket, ToSubscriber};
use crate::shared::{NO_ESTIMATE, Seat, Shared, UNTOLD};

/// Subscriber of one participant.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    slots: Vec<Slot>,
    /// Places of the slots that carry something.
    places: HashMap<TrackId, usize>,
    allocator: Box<dyn Allocator>,
    /// Bitrate of what flows beside what is allocated.
    beside: Traffic,
    guide: Guide,
    /// When it was decided last which layers flow, and when it is next.
    allocated: Option<Instant>,
    next: Option<(Instant, SpawnHandle)>,
    /// Packets that go on once the mailbox is empty.
    batch: Vec<WriteRtp>,
    /// Something flows that the participant does not know of.
    has_news: bool,
    /// The participant is about to be told what flows.
    tells: bool,
    /// Packets that its connection had no room for.
    undelivered: u64,
}

impl Subscriber {
    pub(crate) fn new(shared: &Arc<Shared>, id: ParticipantId) -> Self {
        Self {
            seat: shared.seat(id),
            shared: Arc::clone(shared),
            id,
            slots: Vec::new(),
            places: HashMap::new(),
            // Another one when it starts: this is no place for an application's code.
            allocator: Box::new(SpeakerFirst),
            beside: Traffic::default(),
            guide: Guide::default(),
            allocated: None,
            next: None,
            batch: Vec::new(),
            has_news: false,
            tells: false,
            undelivered: 0,
        }
    }

    fn load(&mut self) {
        let mut before: HashMap<_, _> =
            std::mem::take(&mut self.slots).into_iter().map(|slot| (slot.sender, slot)).collect();
        let (assigned, retells) = {
            let mut stage = self.shared.stage();
            (stage.slots_of(self.id), stage.retells_flows(self.id))
        };
        for (assigned, track) in assigned {
            let mut slot = before.remove(&assigned.sender).unwrap_or_else(|| Slot::new(&assigned));
            slot.carry(&assigned, track.as_ref(), &self.shared);
            if retells {
                slot.retell();
            }
            self.slots.push(slot);
        }
        let carried = self.slots.iter().enumerate();
        self.places = carried.filter_map(|(place, slot)| Some((slot.track?, place))).collect();
    }

    /// Decides which layers flow, by what the publishers have measured and what the participant wishes.
    fn allocate(&mut self, ctx: &mut Context<Self>) {
        self.allocated = Some(now());
        if let Some((_, timer)) = self.next.take() {
            ctx.cancel_future(timer);
        }
        let wishes = self.shared.stage().wishes_of(self.id);
        let speaker = self.shared.dominant.load().as_deref().copied();
        let slots = self.slots.iter().enumerate();
        let demands =
            slots.filter_map(|(at, slot)| Some((at, slot.track?, slot.demand(&wishes, speaker)?)));
        let mut demands: Vec<_> = demands.collect();
        demands.sort_by_key(|(_, track, _)| wishes.place(*track));
        let (places, demands): (Vec<_>, Vec<_>) =
            demands.into_iter().map(|(at, _, demand)| (at, demand)).unzip();
        let mut grants = Vec::new();
        let now = now();
        let beside = self.beside.bitrate(now);
        // Without an estimate all that is wished flows.
        let budget = self.estimate().map_or(UNLIMITED, |estimate| estimate - beside);
        if !demands.is_empty() {
            allocate::allocate(&mut *self.allocator, budget, &demands, &mut grants);
        }
        self.guide(now, beside, &demands, &grants);
        for ((at, demand), grant) in places.into_iter().zip(&demands).zip(grants) {
            self.slots[at].grant(demand, grant);
        }
        if let Some(due) = self.guide.poll_timeout() {
            self.allocate_at(due, ctx);
        }
        self.tell_soon(ctx);
    }

    /// Returns the estimated bandwidth of the path to the participant; none where it is not estimated.
    fn estimate(&self) -> Option<Bitrate> {
        let estimate = self.seat.as_ref()?.estimate.load(Ordering::Relaxed);
        (estimate != NO_ESTIMATE && estimate != UNTOLD).then(|| Bitrate::from_bps(estimate))
    }

    /// Asks a connection that has been up for longer than its participant has been here for its estimate.
    fn ask_for_estimate(&self, ctx: &mut Context<Self>) {
        let Some(seat) = self.seat.clone() else { return };
        let asking = async move {
            let estimate = seat.connection.send(GetBandwidthEstimate).await.ok().flatten()?;
            // What came meanwhile is newer.
            let order = Ordering::Relaxed;
            seat.estimate.compare_exchange(UNTOLD, estimate, order, order).ok()
        };
        ctx.spawn(asking.into_actor(self).map(|asked, this, ctx| {
            if asked.is_some() {
                this.allocate(ctx);
            }
        }));
    }

    /// Tells the estimator of bandwidth, if there is one, for what it should look, and lets it begin anew where nothing
    /// flows by which it could measure.
    fn guide(&mut self, now: Instant, beside: Bitrate, demands: &[Demand], grants: &[Grant]) {
        let advice = self.guide.handle_grants(now, (self.estimate(), beside), demands, grants);
        let Some(seat) = &self.seat else { return };
        if let Some(targets) = advice.targets {
            let (minimum, desired) = (targets.minimum.as_bps(), targets.desired.as_bps());
            // A connection that has no room for it is told with the next change.
            if seat.connection.try_send(SetBitrate { minimum, desired }).is_ok() {
                self.guide.told(targets);
            }
        }
        if let Some(initial) = advice.reset {
            _ = seat.connection.try_send(ResetEstimate { initial: initial.as_bps() });
        }
    }

    /// Decides that when this time has passed since it was decided last.
    fn allocate_after(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let now = now();
        let due = self.allocated.map_or(now, |allocated| allocated + wait);
        if self.next.is_some_and(|(next, _)| next <= due) {
            return;
        }
        if let Some((_, timer)) = self.next.take() {
            ctx.cancel_future(timer);
        }
        if due <= now {
            return self.allocate(ctx);
        }
        self.allocate_at(due, ctx);
    }

    fn allocate_at(&mut self, due: Instant, ctx: &mut Context<Self>) {
        let timer = ctx.run_later(due.saturating_duration_since(now()), move |this, ctx| {
            // One that is cancelled in the pass in which it is due runs nevertheless.
            if this.next.take_if(|(its, _)| *its == due).is_some() {
                this.allocate(ctx);
            }
        });
        self.next = Some((due, timer));
    }

    /// Tells the participant what flows, soon: together with other changes.
    fn tell_soon(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.tells, true) {
            return;
        }
        ctx.run_later(COLLECTED, |this, _| {
            this.tells = false;
            let Some(seat) = &this.seat else { return };
            let stage = this.shared.stage();
            for slot in &mut this.slots {
                // Nothing else is bound while the stage is locked, so what is told of that comes later.
                if let Some(bound) = stage.bound(this.id, slot.sender)
                    && let Some(news) = slot.news(bound)
                {
                    seat.tell(news);
                }
            }
            drop(stage);
            this.tell_facts();
        });
    }

    /// Tells those who look after the room what flows.
    fn tell_facts(&self) {
        let Some(seat) = &self.seat else { return };
        let slots = self.slots.iter().filter_map(Slot::facts).collect();
        let (estimate, undelivered) = (self.estimate(), self.undelivered);
        seat.facts.store(Arc::new(SubscriberFacts { estimate, undelivered, slots }));
    }

    /// Notes how the streams of the slots arrive.
    fn received(&mut self, reports: &[ReceptionReport]) {
        for report in reports {
            let slots = self.slots.iter_mut().filter(|it| it.transceiver == report.transceiver);
            slots.for_each(|slot| slot.reception = Some(report.into()));
        }
        self.tell_facts();
    }

    /// Rewrites what the slots carry of these packets. It goes on with that of other publishers whose packets wait.
    fn forward(&mut self, packets: &[MediaPacket], ctx: &mut Context<Self>) {
        let mut run: Option<usize> = None;
        for media in packets {
            // Packets come in runs of one track.
            if run.is_none_or(|place| self.slots[place].track != Some(media.track)) {
                self.keep_position(run);
                run = self.places.get(&media.track).copied();
            }
            let Some(slot) = run.map(|place| &mut self.slots[place]) else { continue };
            if let Some(packet) = slot.forward(media) {
                self.has_news |= slot.has_news();
                if !slot.is_measured() {
                    self.beside.add(packet.payload.len() + OVERHEAD);
                }
                if self.batch.is_empty() {
                    self.batch.reserve(packets.len());
                }
                self.batch.push(WriteRtp { sender: slot.sender, packet });
            }
        }
        self.keep_position(run);
        if self.batch.len() >= TOGETHER {
            self.let_out(ctx);
        }
    }

    /// Notes for the next instance how far a slot's stream has come.
    fn keep_position(&self, place: Option<usize>) {
        if let Some(slot) = place.map(|place| &self.slots[place]) {
            *slot.position.lock().unwrap_or_else(PoisonError::into_inner) =
                slot.rewriter.position();
        }
    }

    /// Writes to the connection what was rewritten.
    fn let_out(&mut self, ctx: &mut Context<Self>) {
        let batch = std::mem::take(&mut self.batch);
        if let Some(seat) = self.seat.as_ref().filter(|_| !batch.is_empty()) {
            // A connection that has no room loses them, as a network does.
            let packets = batch.len() as u64;
            if seat.connection.try_send(WriteRtpBatch(batch)).is_err() {
                self.undelivered += packets;
                self.has_news = true;
            }
        }
        if std::mem::take(&mut self.has_news) {
            self.tell_soon(ctx);
        }
    }
}

/// Future that a subscriber polls whenever it is woken, after its mailbox: what several publishers have sent by then
/// goes on in one message.
struct LetOut;

impl ActorFuture<Subscriber> for LetOut {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        subscriber: &mut Subscriber,
        ctx: &mut Context<Subscriber>,
        _: &mut Task<'_>,
    ) -> Poll<()> {
        subscriber.let_out(ctx);
        Poll::Pending
    }
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.spawn(LetOut);
        if let Some(seat) = &self.seat {
            seat.subscriber.leads_to(ctx.address().recipient());
        }
        self.allocator = (self.shared.allocator.load())();
        self.load();
        self.allocate(ctx);
        self.ask_for_estimate(ctx);
    }
}

impl Handler<ToSubscriber> for Subscriber {
    type Result = ();

    fn handle(&mut self, told: ToSubscriber, ctx: &mut Context<Self>) {
        if !matches!(told, ToSubscriber::Packets(_)) {
            // What is decided next holds for later packets; and an allocator that panics loses none.
            self.let_out(ctx);
        }
        match told {
            ToSubscriber::Assign => {
                self.load();
                self.allocate(ctx);
            }
            ToSubscriber::Allocate { soon: true } => self.allocate_after(SOON, ctx),
            ToSubscriber::Allocate { soon: false } => self.allocate_after(OFTEN, ctx),
            ToSubscriber::Refresh(transceiver) => {
                let slots = self.slots.iter_mut().filter(|slot| slot.transceiver == transceiver);
                slots.for_each(Slot::want);
                self.tell_soon(ctx);
            }
            ToSubscriber::Received(reports) => self.received(&reports),
            ToSubscriber::Packets(packets) => self.forward(&packets, ctx),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Batches that wait at most.
const MAILBOX: usize = 256;
/// Packets that go on even if more wait: as many as a connection lets out together.
const TOGETHER: usize = 64;
/// Shortest time between two decisions: a publisher may have many encodings, and a client many wishes.
const SOON: Duration = Duration::from_millis(50);
/// The same where only measurements are new.
const OFTEN: Duration = Duration::from_millis(450);
/// Time for which changes of what flows are collected before they are told.
const COLLECTED: Duration = Duration::from_millis(100);
/// Budget where bandwidth is not estimated.
const UNLIMITED: Bitrate = Bitrate::from_bps(u64::MAX);
