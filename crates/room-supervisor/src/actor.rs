//! Room actor.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::{ActorFutureExt, ActorStreamExt};
use actix::prelude::*;
use callboard_supervision::{Exit, ExitReason, has_panicked};
use futures_util::stream;
use serde_json::Value;

use crate::error::{ForwardError, JoinError};
use crate::handle::{InFlight, Shared};
use crate::message::{RoomMessage, To};
use crate::options::OnCrash;
use crate::peer_id::PeerId;
use crate::room::{ErasedRoom, JoinRefusal};
use crate::seats::Standing;
use crate::server_messages::Description;
use crate::wake_ups::{FlushWhenIdle, WakeUps};
use callboard_outbox::{CloseFrame, Outbox};

/// One instance of a room: the application's [`Room`](crate::Room), and the outboxes of the members.
pub(crate) struct RoomActor {
    shared: Arc<Shared>,
    /// Absent while one of its callbacks runs: a room without it has crashed.
    room: Option<Box<dyn ErasedRoom>>,
    members: HashMap<PeerId, Arc<Outbox>>,
    wake_ups: Rc<WakeUps>,
    settings: RoomSettings,
    closed: bool,
}

/// Settings of a room that its actor needs.
#[derive(Clone, Copy)]
pub(crate) struct RoomSettings {
    pub(crate) on_crash: OnCrash,
    pub(crate) join_timeout: Duration,
    pub(crate) close_when_empty: bool,
}

/// Request to admit the peer that has this seat.
#[derive(Message)]
#[rtype(result = "Result<(), JoinError>")]
pub(crate) struct Join(pub(crate) PeerId);

/// Request to forward a message of a peer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ForwardFrom {
    pub(crate) peer: PeerId,
    pub(crate) message: RoomMessage,
    pub(crate) credit: InFlight,
}

/// Request to forward a message of the server.
#[derive(Message)]
#[rtype(result = "Result<(), ForwardError>")]
pub(crate) struct Forward(pub(crate) RoomMessage);

/// Notice that a peer has left its seat.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Depart;

/// Request to tell all peers that the room closes, run `on_terminate`, and end.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) details: Value,
    pub(crate) close: CloseFrame,
}

impl RoomActor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        room: Box<dyn ErasedRoom>,
        settings: RoomSettings,
    ) -> Self {
        let (members, wake_ups) = (HashMap::new(), Rc::default());
        Self { shared, room: Some(room), members, wake_ups, settings, closed: false }
    }

    /// Runs one of the room's callbacks.
    fn call<T>(&mut self, callback: impl FnOnce(&mut dyn ErasedRoom) -> T) -> Option<T> {
        let mut room = self.room.take()?;
        let result = callback(&mut *room);
        self.room = Some(room);
        Some(result)
    }

    /// Lets the room change or drop a message, then puts it into the outboxes of its addressees: all or none.
    fn forward(&mut self, message: RoomMessage) -> Result<(), ForwardError> {
        let Some(message) = self.call(|room| room.on_forward(message)).flatten() else {
            return Ok(());
        };
        match &message.to {
            None => Err(ForwardError::NotAddressed),
            Some(To::All) => {
                let frame = message.encode();
                let others = self.members.iter().filter(|&(&peer, _)| Some(peer) != message.from);
                self.wake_ups.put(&frame, others.map(|(_, outbox)| outbox));
                Ok(())
            }
            Some(To::Peers(peers)) => {
                let outboxes: Vec<_> =
                    peers.iter().filter_map(|peer| self.members.get(peer)).collect();
                if outboxes.len() < peers.len() {
                    let unknown =
                        peers.iter().filter(|peer| !self.members.contains_key(peer)).copied();
                    return Err(ForwardError::NoSuchPeer(unknown.collect()));
                }
                let frame = message.encode();
                self.wake_ups.put(&frame, outboxes);
                Ok(())
            }
        }
    }

    /// Forwards one of the room's own broadcasts like any other message. Its addressees are members.
    fn announce(&mut self, message: RoomMessage) {
        _ = self.forward(message);
    }

    /// Asks the room whether the peer may join. The room's state is in the future meanwhile, and the mailbox waits.
    fn ask(
        &mut self,
        peer: PeerId,
    ) -> impl ActorFuture<Self, Output = Result<Arc<Outbox>, JoinError>> + use<> {
        let (shared, wake_ups) = (Arc::clone(&self.shared), Rc::clone(&self.wake_ups));
        let (room, limit) = (self.room.take(), self.settings.join_timeout);
        let asking = async move {
            let Some(mut room) = room else { return (None, Err(JoinError::RoomUnavailable)) };
            let Some(seat) = shared.seats().ask(peer) else {
                return (Some(room), Err(JoinError::RoomUnavailable));
            };
            let joining = tokio::time::timeout(limit, room.on_join(&seat.auth));
            let answer = match wake_ups.meanwhile(joining).await {
                Ok(Ok(())) => Ok(seat.outbox),
                Ok(Err(JoinRefusal(details))) => Err(JoinError::Refused(details)),
                Err(_) => Err(JoinError::TimedOut),
            };
            (Some(room), answer)
        };
        asking.into_actor(self).map(|(room, answer), this, _| {
            this.room = room;
            answer
        })
    }

    /// Admits a peer that was accepted: tells the others, then the peer.
    fn let_in(&mut self, peer: PeerId, outbox: Arc<Outbox>) {
        let welcome = self.shared.seats().get(peer).map(|seat| seat.welcome.clone());
        let Some(welcome) = welcome else {
            // The peer left while it was being admitted: it joined and left, and no other peer saw it.
            self.call(|room| room.on_leave(peer));
            return;
        };
        self.announce(RoomMessage::joined(peer));
        let others: Vec<_> = self.members.keys().copied().collect();
        self.members.insert(peer, Arc::clone(&outbox));
        let welcome = welcome.unwrap_or_default();
        let frame = RoomMessage::authenticated(peer, &others, &welcome).encode();
        self.wake_ups.put(&frame, [&outbox]);
        // Last: if the room panics before this, it rejects this peer after its restart. If the peer has left meanwhile,
        // the notice of that is in the mailbox.
        self.shared.seats().join(peer);
    }

    /// Announces the departures. The broadcast is sent even if the room panics over it.
    fn see_off(&mut self) {
        let departed = self.shared.seats().take_departed();
        let mut panic = None;
        for peer in departed {
            if self.members.remove(&peer).is_some() && panic.is_none() {
                let left = catch_unwind(AssertUnwindSafe(|| self.call(|room| room.on_leave(peer))));
                panic = left.err();
            }
            if panic.is_none() {
                // Only `on_forward` panics here, before the message was sent to any peer.
                let announce = AssertUnwindSafe(|| self.announce(RoomMessage::left(peer)));
                panic = match catch_unwind(announce) {
                    Ok(()) => continue,
                    Err(panic) => Some(panic),
                };
            }
            self.broadcast(&RoomMessage::left(peer));
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Sends a message to all members, without `on_forward`.
    fn broadcast(&self, message: &RoomMessage) {
        let frame = message.encode();
        self.wake_ups.put(&frame, self.members.values());
    }

    /// Lets the members join again after a crash, without telling the others; then tells all members of the restart,
    /// and of peers that did not join again.
    fn readopt(&mut self, ctx: &mut Context<Self>) {
        let (joined, suspects): (Vec<_>, Vec<_>) = {
            let seats = self.shared.seats();
            let peers = |standing| seats.all().filter(move |(_, seat)| seat.standing == standing);
            (
                peers(Standing::Joined).map(|(peer, _)| peer).collect(),
                peers(Standing::Asking).map(|(peer, _)| peer).collect(),
            )
        };
        for peer in suspects {
            self.turn_away(peer, &JoinError::RoomCrashed);
        }
        let asking =
            stream::iter(joined).into_actor(self).then(|peer, this, _| this.readopt_one(peer));
        ctx.wait(asking.finish().map(|(), this, ctx| {
            let peers: Vec<_> = this.members.keys().copied().collect();
            this.broadcast(&RoomMessage::room_restarted(&peers));
            this.see_off();
            this.close_if_empty(ctx);
        }));
    }

    fn readopt_one(&mut self, peer: PeerId) -> impl ActorFuture<Self, Output = ()> + use<> {
        self.ask(peer).map(move |answer, this, _| match answer {
            Ok(outbox) => {
                this.shared.seats().join(peer);
                this.members.insert(peer, outbox);
            }
            Err(error) => this.turn_away(peer, &error),
        })
    }

    fn turn_away(&mut self, peer: PeerId, error: &JoinError) {
        let Some(seat) = self.shared.seats().depart(peer) else { return };
        let message = RoomMessage::error(peer, Description::CouldNotJoinRoom, &error.details());
        _ = seat.outbox.push(message.encode());
        seat.outbox.close(CloseFrame::NORMAL);
    }

    fn close_if_empty(&mut self, ctx: &mut Context<Self>) {
        if self.settings.close_when_empty && self.shared.seats().close_if_empty() {
            self.say_goodbye();
            ctx.exit(ExitReason::Normal);
        }
    }

    /// Runs `on_terminate`, once; a panic in it must not keep the room from closing.
    fn say_goodbye(&mut self) {
        self.closed = true;
        self.shared.orderly.store(true, Ordering::Relaxed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.call(|room| room.on_terminate())))
        {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("a panic");
            log::error!("room {:?}: on_terminate panicked: {text}", self.shared.name);
        }
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shared.runs_as(Some(ctx.address()));
        ctx.spawn(FlushWhenIdle(Rc::clone(&self.wake_ups)));
        if !self.shared.seats().open() {
            return;
        }
        match self.settings.on_crash {
            OnCrash::Readopt => self.readopt(ctx),
            OnCrash::Close => {
                let seats: Vec<_> = self.shared.seats().all().map(|(peer, _)| peer).collect();
                for peer in seats {
                    self.shared.dismiss(peer, &"crashed".into(), CloseFrame::ROOM_FAILED);
                }
                self.shared.seats().take_departed();
                self.close_if_empty(ctx);
            }
        }
    }

    /// Runs also after a crash; then no peer is told that the room closes, and `on_terminate` is not called.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.wake_ups.tell();
        self.shared.runs_as(None);
        if !self.closed && self.room.is_some() && !has_panicked() {
            self.shared.close(&"shutdown".into(), CloseFrame::GOING_AWAY);
            self.say_goodbye();
        }
    }
}

impl Handler<Join> for RoomActor {
    type Result = AtomicResponse<Self, Result<(), JoinError>>;

    fn handle(&mut self, Join(peer): Join, _: &mut Self::Context) -> Self::Result {
        if self.members.contains_key(&peer) {
            return AtomicResponse::new(Box::pin(actix::fut::ready(Ok(()))));
        }
        AtomicResponse::new(Box::pin(self.ask(peer).map(move |answer, this, ctx| match answer {
            Ok(outbox) => {
                this.let_in(peer, outbox);
                Ok(())
            }
            Err(error) => {
                this.shared.seats().vacate(peer);
                this.close_if_empty(ctx);
                Err(error)
            }
        })))
    }
}

impl Handler<ForwardFrom> for RoomActor {
    type Result = ();

    fn handle(
        &mut self,
        ForwardFrom { peer, message, credit }: ForwardFrom,
        _: &mut Self::Context,
    ) {
        let Some(outbox) = self.members.get(&peer).cloned() else { return };
        let message = RoomMessage { from: Some(peer), ..message };
        if let Err(error) = self.forward(message) {
            let (description, details) = match error {
                ForwardError::NoSuchPeer(peers) => {
                    (Description::NoSuchPeer, serde_json::json!(peers))
                }
                // The room has removed the addressees.
                error => (Description::InvalidMessage, error.to_string().into()),
            };
            _ = outbox.push(RoomMessage::error(peer, description, &details).encode());
        }
        drop(credit);
    }
}

impl Handler<Forward> for RoomActor {
    type Result = Result<(), ForwardError>;

    fn handle(&mut self, Forward(message): Forward, _: &mut Self::Context) -> Self::Result {
        self.forward(message)
    }
}

impl Handler<Depart> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Depart, ctx: &mut Self::Context) {
        self.see_off();
        self.close_if_empty(ctx);
    }
}

impl Handler<Stop> for RoomActor {
    type Result = ();

    fn handle(&mut self, Stop { details, close }: Stop, ctx: &mut Self::Context) {
        self.shared.close(&details, close);
        self.members.clear();
        self.say_goodbye();
        ctx.exit(ExitReason::Normal);
    }
}
