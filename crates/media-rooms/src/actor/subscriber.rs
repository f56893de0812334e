//! Subscriber: decides what flows in the slots of one participant. Its connection takes the packets by itself, through
//! a [`Forwarder`].

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix::prelude::*;
use callboard_peer_connection::ReceptionReport;
use callboard_peer_connection::messages::{
    GetBandwidthEstimate, ResetEstimate, SetBitrate, SetPacketSource,
};

use super::forwarder::{self, Forwarder, Slots};
use super::slot::Slot;
use crate::core::allocate::{self, Allocator, Bitrate, Demand, Grant, Guide, SpeakerFirst};
use crate::event::ParticipantId;
use crate::facts::SubscriberFacts;
use crate::messages::ToSubscriber;
use crate::shared::{NO_ESTIMATE, Seat, Shared, UNTOLD};

/// Subscriber of one participant.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    id: ParticipantId,
    seat: Option<Arc<Seat>>,
    /// What flows, shared with the connection.
    slots: Arc<Mutex<Slots>>,
    allocator: Box<dyn Allocator>,
    guide: Guide,
    /// When it was decided last which layers flow, and when it is next.
    allocated: Option<Instant>,
    next: Option<(Instant, SpawnHandle)>,
}

impl Subscriber {
    pub(crate) fn new(shared: &Arc<Shared>, id: ParticipantId) -> Self {
        Self {
            seat: shared.seat(id),
            shared: Arc::clone(shared),
            id,
            slots: Arc::default(),
            // Another one when it starts: this is no place for an application's code.
            allocator: Box::new(SpeakerFirst),
            guide: Guide::default(),
            allocated: None,
            next: None,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        forwarder::lock(&self.slots)
    }

    fn load(&mut self) {
        let (assigned, retells) = {
            let mut stage = self.shared.stage();
            (stage.slots_of(self.id), stage.retells_flows(self.id))
        };
        let mut slots = self.slots();
        let before = std::mem::take(&mut slots.all).into_iter();
        let mut before: HashMap<_, _> = before.map(|slot| (slot.sender, slot)).collect();
        for (assigned, track) in assigned {
            let mut slot = before.remove(&assigned.sender).unwrap_or_else(|| Slot::new(&assigned));
            slot.carry(&assigned, track.as_ref(), &self.shared);
            if retells {
                slot.retell();
            }
            slots.all.push(slot);
        }
        let carried = slots.all.iter().enumerate();
        slots.places = carried.filter_map(|(place, slot)| Some((slot.track?, place))).collect();
    }

    /// Decides which layers flow, by what the publishers have measured and what the participant wishes.
    fn allocate(&mut self, ctx: &mut Context<Self>) {
        self.allocated = Some(now());
        if let Some((_, timer)) = self.next.take() {
            ctx.cancel_future(timer);
        }
        let wishes = self.shared.stage().wishes_of(self.id);
        let speaker = self.shared.dominant.load().as_deref().copied();
        let now = now();
        let (mut demands, beside) = {
            let mut slots = self.slots();
            let all = slots.all.iter().enumerate();
            let demands = all
                .filter_map(|(at, slot)| Some((at, slot.track?, slot.demand(&wishes, speaker)?)));
            (demands.collect::<Vec<_>>(), slots.beside.bitrate(now))
        };
        demands.sort_by_key(|(_, track, _)| wishes.place(*track));
        let (places, demands): (Vec<_>, Vec<_>) =
            demands.into_iter().map(|(at, _, demand)| (at, demand)).unzip();
        let mut grants = Vec::new();
        // Without an estimate all that is wished flows.
        let budget = self.estimate().map_or(UNLIMITED, |estimate| estimate - beside);
        if !demands.is_empty() {
            allocate::allocate(&mut *self.allocator, budget, &demands, &mut grants);
        }
        self.guide(now, beside, &demands, &grants);
        let mut slots = self.slots();
        for ((at, demand), grant) in places.into_iter().zip(&demands).zip(grants) {
            slots.all[at].grant(demand, grant);
        }
        drop(slots);
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
        let tells = std::mem::replace(&mut self.slots().tells, true);
        if !tells {
            self.tell_later(ctx);
        }
    }

    fn tell_later(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(COLLECTED, |this, _| {
            let Some(seat) = &this.seat else { return };
            let stage = this.shared.stage();
            let mut slots = this.slots();
            slots.tells = false;
            for slot in &mut slots.all {
                // Nothing else is bound while the stage is locked, so what is told of that comes later.
                if let Some(bound) = stage.bound(this.id, slot.sender)
                    && let Some(news) = slot.news(bound)
                {
                    seat.tell(news);
                }
            }
            drop((stage, slots));
            this.tell_facts();
        });
    }

    /// Tells those who look after the room what flows.
    fn tell_facts(&self) {
        let Some(seat) = &self.seat else { return };
        let slots = self.slots().all.iter().filter_map(Slot::facts).collect();
        let undelivered = seat.viewer.undelivered.load(Ordering::Relaxed);
        let estimate = self.estimate();
        seat.facts.store(Arc::new(SubscriberFacts { estimate, undelivered, slots }));
    }

    /// Notes how the streams of the slots arrive.
    fn received(&mut self, reports: &[ReceptionReport]) {
        let mut slots = self.slots();
        for report in reports {
            let slots = slots.all.iter_mut().filter(|it| it.transceiver == report.transceiver);
            slots.for_each(|slot| slot.reception = Some(report.into()));
        }
        drop(slots);
        self.tell_facts();
    }
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(seat) = &self.seat {
            seat.viewer.subscriber.leads_to(ctx.address().recipient());
        }
        self.allocator = (self.shared.allocator.load())();
        self.load();
        if let Some(seat) = &self.seat {
            let (slots, viewer) = (Arc::downgrade(&self.slots), Arc::clone(&seat.viewer));
            // Once for each instance.
            let source = SetPacketSource(Some(Box::new(Forwarder { slots, viewer })));
            _ = seat.connection.address().map(|connection| connection.do_send(source));
        }
        self.allocate(ctx);
        self.ask_for_estimate(ctx);
    }
}

impl Handler<ToSubscriber> for Subscriber {
    type Result = ();

    fn handle(&mut self, told: ToSubscriber, ctx: &mut Context<Self>) {
        match told {
            ToSubscriber::Assign => {
                self.load();
                self.allocate(ctx);
            }
            ToSubscriber::Allocate { soon: true } => self.allocate_after(SOON, ctx),
            ToSubscriber::Allocate { soon: false } => self.allocate_after(OFTEN, ctx),
            ToSubscriber::Refresh(transceiver) => {
                let mut slots = self.slots();
                let all = slots.all.iter_mut().filter(|slot| slot.transceiver == transceiver);
                all.for_each(Slot::want);
                drop(slots);
                self.tell_soon(ctx);
            }
            ToSubscriber::Received(reports) => self.received(&reports),
            ToSubscriber::Tell => self.tell_later(ctx),
            ToSubscriber::Fail(message) => std::panic::panic_any(message.to_string()),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Commands that wait at most.
const MAILBOX: usize = 256;
/// Shortest time between two decisions: a publisher may have many encodings, and a client many wishes.
const SOON: Duration = Duration::from_millis(50);
/// The same where only measurements are new.
const OFTEN: Duration = Duration::from_millis(450);
/// Time for which changes of what flows are collected before they are told.
const COLLECTED: Duration = Duration::from_millis(100);
/// Budget where bandwidth is not estimated.
const UNLIMITED: Bitrate = Bitrate::from_bps(u64::MAX);
