//! Guests of a room: the peers of one other node. For the room each is a member like any other; this actor stands for
//! their sockets.

mod changes;
mod marks;
mod moving;
mod offers;

use std::collections::{BTreeMap, VecDeque};
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use bytes::Bytes;
use bytestring::ByteString;
use callboard_cluster::{Epoch, NodeId};
use callboard_outbox::{
    CloseFrame, Deliver, Outbox, OutboxLimits, OutboxReady, SharedSocket, SocketNumber,
};
use callboard_supervision::{ChildSpec, Restart, StartError, Status};
use serde_json::{Map, Value};
use tokio::time::timeout;

use self::marks::Marks;
use super::WINDOW;
use super::texts::{PER_TEXT, SameTexts, Texts};
use crate::auth::AuthData;
use crate::error::{ForwardError, JoinError};
use crate::handle::RoomHandle;
use crate::link::{
    self, Assembly, Batch, FrameError, Joining, Link, Part, Parts, RETRY, Refusal, Seat, ToEdge,
    ToHome, stream,
};
use crate::member::{Member, NewMember};
use crate::membership::Membership;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::roster::Offered;
use crate::server_messages::Description;
use crate::tenure;

/// Actor of the guests that one other node has in a room.
pub(super) struct Guests {
    room: RoomHandle,
    link: Link,
    parts: Option<Parts>,
    assembly: Assembly,
    guests: BTreeMap<Seat, Guest>,
    /// Socket of all guests: this actor, once it has one.
    socket: Option<Arc<SharedSocket>>,
    /// What the edge has not been told.
    batch: Batch,
    /// Decisions on guests that the edge has not been told, because their texts come first.
    joined: Vec<(Seat, Option<Refusal>)>,
    /// Members as the edge knows them, with those that wait to be told.
    told: Option<Arc<[Member]>>,
    /// Members that the edge has not been told of.
    came: VecDeque<Member>,
    /// Guest with whose outbox the next batch begins.
    next: Seat,
    /// Whether there may be something in outboxes, or in the room's list of members.
    dirty: bool,
    /// Number of batches that the edge has not handled.
    under_way: usize,
    marks: Marks,
    /// Messages that the edge learns to be handled from the batches under way: for each batch, guests and the numbers
    /// of their last ones.
    settling: VecDeque<Vec<(PeerId, u64)>>,
    /// Members of an earlier home that the edge has offered, until it has offered all.
    offers: Vec<(Seat, Offered)>,
    /// Whether the edge has said what it is: one that has members of an earlier home, or one that has not.
    is_known: bool,
    /// Nodes with links, as the edge knows them.
    edges: Vec<NodeId>,
    /// Number of the room's hold, as the edge knows it.
    epoch: Option<Epoch>,
    /// Whether it looks again whether the line is full.
    waits: bool,
    /// Guests that go to another node once the room does not.
    detaching: Vec<Seat>,
    /// The room has gone to another node, and the edge knows it.
    is_gone: bool,
    /// Number of guests, for others to see.
    count: Arc<AtomicUsize>,
}

struct Guest {
    membership: Arc<Membership>,
    outbox: Arc<Outbox>,
    socket: SocketNumber,
    joining: Option<SpawnHandle>,
}

impl Guests {
    /// Returns the specification of this actor, a child of the room, with a number that no other has.
    pub(super) fn spec(number: u64, link: Link, room: RoomHandle, parts: Parts) -> ChildSpec {
        let name = format!("guests of {} #{number}", link.node());
        let mut once = Some((link, room, parts));
        let spec = ChildSpec::try_new(name, move || {
            let made = once.take().map(|(link, room, parts)| Self {
                room,
                link,
                parts: Some(parts),
                assembly: Assembly::default(),
                guests: BTreeMap::new(),
                socket: None,
                batch: Batch::default(),
                joined: Vec::new(),
                told: None,
                came: VecDeque::new(),
                next: 0,
                dirty: true,
                under_way: 0,
                marks: Marks::default(),
                settling: VecDeque::new(),
                offers: Vec::new(),
                is_known: false,
                edges: Vec::new(),
                epoch: None,
                waits: false,
                detaching: Vec::new(),
                is_gone: false,
                count: Arc::default(),
            });
            std::future::ready(made.ok_or(StartError::ShuttingDown))
        });
        spec.restart(Restart::Temporary)
    }

    fn handle_message(
        &mut self,
        message: ToHome,
        payload: &Bytes,
        ctx: &mut Context<Self>,
    ) -> Result<(), FrameError> {
        // The edge says it again where the room is.
        if (self.is_gone || self.has_moved()) && message.is_of_guests() {
            return Ok(());
        }
        match message {
            // The hub has opened it.
            ToHome::Open { .. } => {}
            ToHome::Join { seat, peer, again, .. } if again && self.was_told_left(peer) => {
                self.joined.push((seat, Some(JoinError::PeerIdTaken.into())));
            }
            ToHome::Join { seat, peer, texts, messages, bytes, .. } => {
                self.is_known = true;
                match Joining::read(peer, &texts, payload.clone()) {
                    Some((auth, welcome)) => {
                        self.join(seat, auth, welcome, limits(messages, bytes), ctx);
                    }
                    None => self.joined.push((seat, Some(Refusal::RoomUnavailable))),
                }
            }
            ToHome::Offer(offer) => self.offer(offer, payload),
            ToHome::Offered { tags, edges, left } => self.offered(tags, edges, left, ctx),
            ToHome::Leave { seat } => self.leave(seat, ctx),
            ToHome::Detach { seat } => self.detach(seat),
            ToHome::Adopt { seat, peer } => self.adopt(seat, peer, ctx),
            // On a link of its own.
            ToHome::Take { .. } | ToHome::Prepare { .. } | ToHome::HandOver { .. } => {}
            ToHome::Given(_) => {}
            ToHome::Forward { seat, number, event, to, took } => {
                self.took(took);
                match link::message(event, to, payload) {
                    Ok(message) => self.forward(seat, number, message),
                    // It costs its sender that message, and the others nothing.
                    Err(error) => {
                        log::warn!("room {:?}: a guest's message: {error}", self.room.name());
                    }
                }
                self.marks.said(seat, number);
                self.look_again(ctx);
            }
            ToHome::Send { .. } | ToHome::Kick { .. } | ToHome::Stop => {
                self.handle_server(message, payload, ctx);
            }
            ToHome::Took { batches, lists } => {
                self.took(batches);
                self.list_members(&lists);
            }
            ToHome::Close => ctx.stop(),
        }
        Ok(())
    }

    fn join(
        &mut self,
        seat: Seat,
        auth: AuthData,
        welcome: Map<String, Value>,
        limits: OutboxLimits,
        ctx: &mut Context<Self>,
    ) {
        let outbox = Arc::new(Outbox::new(limits));
        let socket = outbox.attach_shared(&self.socket(ctx));
        let member = NewMember::new(auth, Arc::clone(&outbox)).welcome(welcome).guest();
        let membership = match self.room.reserve(member) {
            Ok(membership) => Arc::new(membership),
            Err(_) if self.has_moved() => return,
            Err(error) => return self.joined.push((seat, Some(error.into()))),
        };
        let (room, its) = (self.room.clone(), Arc::clone(&membership));
        let joining = async move {
            _ = timeout(STARTING, room.running()).await;
            its.join().await
        };
        let joining =
            joining.into_actor(self).map(move |joined, this, _| this.decided(seat, joined));
        let joining = Some(ctx.spawn(joining));
        self.guests.insert(seat, Guest { membership, outbox, socket, joining });
    }

    fn socket(&mut self, ctx: &Context<Self>) -> Arc<SharedSocket> {
        let new = || SharedSocket::new(ctx.address().recipient());
        Arc::clone(self.socket.get_or_insert_with(new))
    }

    fn decided(&mut self, seat: Seat, joined: Result<(), JoinError>) {
        if self.has_moved() {
            return;
        }
        // One that has left meanwhile needs no answer.
        if self.guests.get_mut(&seat).and_then(|guest| guest.joining.take()).is_none() {
            return;
        }
        self.dirty = true;
        let error = joined.err();
        if error.is_some() {
            self.guests.remove(&seat);
        }
        self.joined.push((seat, error.map(Refusal::from)));
        self.pump(false);
    }

    fn leave(&mut self, seat: Seat, ctx: &mut Context<Self>) {
        if let Some(guest) = self.guests.remove(&seat) {
            guest.joining.map(|joining| ctx.cancel_future(joining));
        }
        self.offers.retain(|(other, _)| *other != seat);
        self.joined.retain(|(other, _)| *other != seat);
    }

    /// Forwards a guest's message; if that is refused, its client is told, as a peer's actor does.
    fn forward(&mut self, seat: Seat, number: u64, message: RoomMessage) {
        let Some(Guest { membership, outbox, .. }) = self.guests.get(&seat) else { return };
        membership.member().set_number(number);
        let (description, details) = match membership.forward_as(message, number) {
            Err(ForwardError::TooManyInFlight) => (Description::TooManyMessages, "slow down"),
            Err(_) => (Description::RoomUnavailable, "the message was not delivered"),
            Ok(()) => return,
        };
        let error = RoomMessage::error(membership.peer_id(), description, &details.into());
        _ = outbox.push(error.encode());
    }

    /// Handles that the edge has handled so many batches more.
    fn took(&mut self, batches: usize) {
        self.under_way = self.under_way.saturating_sub(batches);
        let settled = self.settling.drain(..batches.min(self.settling.len()));
        let settled: Vec<_> = settled.flatten().collect();
        if !settled.is_empty() {
            let mut roster = self.room.shared.roster();
            settled.into_iter().for_each(|(peer, number)| roster.settle(peer, number));
        }
    }

    /// Sends these guests the list of members. A room that has gone is asked where it is.
    fn list_members(&self, seats: &[Seat]) {
        if !self.is_gone && !self.has_moved() {
            let guests = seats.iter().filter_map(|seat| self.guests.get(seat));
            guests.for_each(|guest| guest.membership.list_members());
        }
    }

    /// Sends the edge what it has not been told, unless it has much to handle. `last`: in any case.
    fn pump(&mut self, last: bool) {
        if self.is_gone && !last {
            return;
        }
        self.count.store(self.guests.len(), Ordering::Relaxed);
        let has_news = last || self.dirty || !self.joined.is_empty() || !self.batch.is_empty();
        if !has_news && self.marks.can_wait() {
            return;
        }
        while last || (self.under_way < WINDOW && self.link.flush()) {
            let mut payload = Vec::new();
            self.marks.look(&self.guests);
            let texts = self.collect(&mut payload);
            if !self.dirty {
                self.batch.joined = take(&mut self.joined);
            }
            self.marks.add_to(&mut self.batch, last);
            let batch = take(&mut self.batch);
            if batch.is_empty() {
                return;
            }
            let settling = batch.handled.iter().filter_map(|(seat, number)| {
                Some((self.guests.get(seat)?.membership.peer_id(), *number))
            });
            self.settling.push_back(settling.collect());
            let public = payload.iter().map(Vec::as_slice);
            let texts = texts.iter().map(|text| text.as_bytes().as_ref());
            self.link.send(&ToEdge::Batch(batch), &public.chain(texts).collect::<Vec<_>>());
            self.under_way += 1;
        }
    }

    /// Goes on later, if the line is full.
    fn wait_for_line(&mut self, ctx: &mut Context<Self>) {
        if !self.link.flush() && !replace(&mut self.waits, true) {
            ctx.run_later(RETRY, |this, ctx| {
                this.waits = false;
                this.pump(false);
                this.wait_for_line(ctx);
            });
        }
    }

    /// Takes what is in the guests' outboxes, up to a full batch, from the guest on at which the last one was full.
    /// Returns the texts, and puts the metadata of new members into `public`.
    fn collect(&mut self, public: &mut Vec<Vec<u8>>) -> Vec<ByteString> {
        let mut texts = Texts::default();
        if !take(&mut self.dirty) {
            return texts.texts;
        }
        // Before all else: what is put in from now on is found now, or told.
        if let Some(socket) = &self.socket {
            socket.looks();
        }
        self.compare();
        while texts.bytes < LARGE_BATCH
            && let Some(member) = self.came.pop_front()
        {
            let text = serde_json::to_vec(member.public()).unwrap_or_default();
            texts.bytes += text.len() + PER_TEXT;
            self.batch.came.push((member.peer_id(), text.len()));
            public.push(text);
        }
        let mut same = SameTexts::default();
        let (from, mut its) = (take(&mut self.next), Vec::new());
        for (&seat, guest) in self.guests.range(from..).chain(self.guests.range(..from)) {
            if texts.bytes >= LARGE_BATCH {
                self.next = seat;
                break;
            }
            its.clear();
            while texts.bytes < LARGE_BATCH {
                match guest.outbox.next(guest.socket) {
                    Some(Deliver::Frame(text)) => its.push(texts.add(text)),
                    Some(Deliver::Close(close)) => {
                        self.batch.closed.push((seat, close.code, close.reason.into_owned()));
                    }
                    None => break,
                }
            }
            same.add(seat, &its);
        }
        self.batch.frames = same.into_frames();
        self.dirty = texts.bytes >= LARGE_BATCH;
        self.batch.texts = texts.texts.iter().map(|text| text.len()).collect();
        self.room.shared.roster().tags_of(&texts.texts, &mut self.batch);
        texts.texts
    }
}

impl Actor for Guests {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let held = self.room.shared.tenure().and_then(|tenure| Some((tenure, tenure.epoch()?)));
        // The room has gone on to another node since it was asked for.
        let Some((tenure, epoch)) = held else { return ctx.stop() };
        self.link.send(&ToEdge::Opened { epoch }, &[]);
        self.epoch = Some(epoch);
        let (node, count) = (self.link.node().clone(), Arc::clone(&self.count));
        tenure.add_guests(tenure::Guests { node, actor: ctx.address().recipient(), count });
        ctx.spawn(PumpWhenIdle);
        if let Some(parts) = self.parts.take() {
            ctx.add_stream(stream(parts));
        }
    }

    /// Says the room's last words, if it has ended.
    fn stopped(&mut self, ctx: &mut Self::Context) {
        if self.is_gone || self.has_moved() {
            return self.follow_room(ctx);
        }
        let node = self.room.supervisor();
        if node.is_none_or(|node| node.snapshot().status != Status::Running) {
            // The room is being stopped with its node. Its guests stay members where it goes on: they do not leave. And
            // who goes on with it waits for those of all nodes, also if their actors have ended before.
            self.room.shared.tenure().inspect(|tenure| tenure.keep_edge(self.link.node()));
            self.room.shared.close(&"shutdown".into(), CloseFrame::GOING_AWAY);
        } else {
            self.lose_node();
        }
        self.dirty = true;
        self.pump(true);
        if self.room.shared.is_over() {
            self.link.send(&ToEdge::Ended, &[]);
        }
    }
}

impl StreamHandler<Part> for Guests {
    fn handle(&mut self, part: Part, ctx: &mut Self::Context) {
        let handled = match self.assembly.add(part) {
            Ok(Some((message, payload))) => self.handle_message(message, &payload, ctx),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = handled {
            let (room, node) = (self.room.name(), self.link.node());
            log::warn!("room {room:?}: node {node} sends what cannot be read: {error}");
            ctx.stop();
        }
        self.pump(false);
    }
}

impl Handler<OutboxReady> for Guests {
    type Result = ();

    fn handle(&mut self, _: OutboxReady, ctx: &mut Self::Context) {
        self.dirty = true;
        if !self.is_gone && (self.has_moved() || !self.detaching.is_empty()) {
            self.look_where_the_room_is(ctx);
        }
    }
}

/// Future in the actor's context that sends: it is polled when the mailbox is empty, so that what goes to many guests
/// is collected once. It is not polled again after the other futures: what those have to say, they send.
struct PumpWhenIdle;

impl ActorFuture<Guests> for PumpWhenIdle {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        guests: &mut Guests,
        ctx: &mut Context<Guests>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        guests.pump(false);
        guests.wait_for_line(ctx);
        Poll::Pending
    }
}

fn limits(messages: usize, bytes: usize) -> OutboxLimits {
    OutboxLimits { messages: messages.min(MAX_OUTBOX.messages), bytes: bytes.min(MAX_OUTBOX.bytes) }
}

/// Bytes of texts after which a batch gets no more.
const LARGE_BATCH: usize = 1 << 20;
/// Largest outbox of a guest.
const MAX_OUTBOX: OutboxLimits = OutboxLimits { messages: 1 << 16, bytes: 8 << 20 };
/// Longest wait for a room's start.
const STARTING: Duration = Duration::from_secs(5);
