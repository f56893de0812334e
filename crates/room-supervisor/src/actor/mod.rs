//! Room actor: runs the application's callbacks, and carries out what the [`Roster`] decides.

mod away;
mod lapse;
mod moving;
mod readopt;

use self::away::Waiting;
use self::lapse::unless_fenced;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::prelude::*;
use callboard_outbox::CloseFrame;
use callboard_supervision::{Exit, ExitReason, StartError, has_panicked};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::away::{Edge, Listening, SharedEdge};
use crate::command::{Fate, RoomCommand};
use crate::context::{Requests, RoomContext};
use crate::error::{ForwardError, JoinError};
use crate::link::Parts;
use crate::member::Member;
use crate::message::RoomMessage;
use crate::peer_id::PeerId;
use crate::room::{ErasedRoom, Open};
use crate::roster::{Origin, Output, Roster};
use crate::server_messages::Description;
use crate::settings::{OnCrash, RoomSettings};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tenure::ROOM_LOST;
use crate::wake_ups::FlushWhenIdle;

/// One instance of a room: the application's [`Room`](crate::Room), and the timer of its ticks.
pub(crate) struct RoomActor {
    shared: Arc<Shared>,
    context: Rc<RoomContext>,
    /// Absent while one of its callbacks runs: a room without it has crashed.
    room: Option<Box<dyn ErasedRoom>>,
    settings: RoomSettings,
    ticks: Option<(Instant, SpawnHandle)>,
    /// Whether the hold of the room's name is over.
    hold_watch: Option<SpawnHandle>,
    /// Whether the hold of the room's name is over, as this instance knows it.
    lapsed: bool,
    /// It goes on where a snapshot was taken, with the members that the snapshot knows.
    is_restored: bool,
    /// Function that opens the room.
    open: Arc<Open>,
    /// Peers of this node, while another node runs the room.
    edge: Option<Arc<SharedEdge>>,
    listening: Option<Arc<Listening>>,
    /// What comes from the room's home, until it is listened to; and while it is.
    link: Option<Parts>,
    stream: Option<SpawnHandle>,
    /// Whether another node claims the room.
    watch: Option<SpawnHandle>,
    /// What waits until the room has adopted the members of an earlier home.
    waiting: Option<Waiting>,
}

type Answer = oneshot::Sender<Result<(), JoinError>>;

impl RoomActor {
    /// Begins an instance: opens the room; or if another node runs it, goes on with the link to that.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        open: &Arc<Open>,
        settings: RoomSettings,
        link: Option<Parts>,
    ) -> Result<Self, StartError> {
        let context = RoomContext::new(Arc::clone(shared));
        let is_away = shared.away().is_some();
        if (is_away && link.is_none()) || shared.is_fenced() {
            // Nothing of it may run any more, and no other instance will.
            let details = if is_away { "elsewhere" } else { "lapsed" };
            shared.close(&details.into(), ROOM_LOST);
            return Err(StartError::failed("this node has lost it"));
        }
        let mut actor = Self {
            shared: Arc::clone(shared),
            context: Rc::new(context),
            room: None,
            settings,
            ticks: None,
            hold_watch: None,
            lapsed: false,
            is_restored: false,
            open: Arc::clone(open),
            edge: is_away.then(|| SharedEdge::new(Edge::new(Arc::clone(shared), true))),
            listening: None,
            link,
            stream: None,
            watch: None,
            waiting: None,
        };
        if !is_away {
            let snapshot = shared.take_snapshot(settings.snapshot_version);
            let opened = open(&actor.context, snapshot.as_ref());
            let opened = opened.map_err(|rejection| StartError::Failed(rejection.text()))?;
            (actor.room, actor.is_restored) = (Some(opened.room), opened.is_restored);
        }
        Ok(actor)
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.shared.roster()
    }

    /// Runs one of the room's callbacks.
    fn call<T>(
        &mut self,
        callback: impl FnOnce(&mut dyn ErasedRoom, &RoomContext) -> T,
    ) -> Option<T> {
        let mut room = self.room.take()?;
        let result = callback(&mut *room, &self.context);
        self.room = Some(room);
        Some(result)
    }

    /// Lets the room change or drop a message, then puts it into the outboxes of its addressees: all or none.
    fn forward(
        &mut self,
        message: RoomMessage,
        origin: Option<Origin>,
    ) -> Result<(), ForwardError> {
        if self.shared.forwards_directly() {
            return self.context.deliver_of(&message, origin);
        }
        match self.call(|room, context| room.on_forward(message, context)).flatten() {
            Some(message) => self.context.deliver_of(&message, origin),
            None => Ok(()),
        }
    }

    /// Forwards a message of a peer, and tells its client if that failed.
    fn forward_from(&mut self, origin: Origin, message: RoomMessage) {
        let peer = origin.peer;
        let Some(sender) = self.roster().sender(peer).cloned() else { return };
        let forwarded = self.forward(message, Some(origin));
        sender.set_handled(origin.number);
        let Err(error) = forwarded else { return };
        let (description, details) = match error {
            ForwardError::NoSuchPeer(peers) => (Description::NoSuchPeer, serde_json::json!(peers)),
            // The room has removed the addressees.
            error => (Description::InvalidMessage, error.to_string().into()),
        };
        let mut roster = self.roster();
        // An earlier home may have told it.
        let sender = roster.sender(peer).filter(|_| !roster.has_seen(Some(origin))(peer)).cloned();
        if let Some(sender) = sender {
            let error = RoomMessage::error(peer, description, &details).encode();
            let tagged = roster.tags_what_comes_of(Some(origin)).then(|| error.clone());
            roster.tag(tagged, Some(origin));
            drop(roster);
            _ = sender.outbox().push(error);
        }
    }

    /// Carries out what the roster decides. A panic in a callback is passed on when all that needs none is done.
    fn carry_out(&mut self) {
        for done in 0.. {
            let output = self.roster().poll_output();
            let Some(output) = output else {
                if done > 0
                    && let Some(tenure) = self.shared.tenure()
                {
                    tenure.tell_guests();
                }
                return;
            };
            let carried_out = catch_unwind(AssertUnwindSafe(|| self.carry_out_one(output)));
            if let Err(panic) = carried_out {
                self.roster().panicked();
                self.carry_out();
                resume_unwind(panic);
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            // The addressees of the room's own messages are members, or `on_forward` has changed them.
            Output::Announce(message) => _ = self.forward(message, None),
            Output::Deliver(message) => _ = self.context.deliver(&message),
            Output::Joined(peer) => _ = self.call(|room, context| room.on_joined(peer, context)),
            Output::Leave(peer) => _ = self.call(|room, context| room.on_leave(peer, context)),
            Output::Close { member, last, frame } => {
                // A client that is being closed already has been told why.
                _ = member.outbox().push(last.encode());
                member.outbox().close(frame);
            }
        }
    }

    /// Carries out what the roster decides, then what callbacks have asked for.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        self.carry_out();
        self.shared.list_members(&self.context.wake_ups);
        let Requests { close, every } = self.context.take_requests();
        if let Some(period) = every {
            self.tick_every(period, ctx);
        }
        if let Some(details) = close {
            self.close(&details, CloseFrame::NORMAL, ctx);
        }
    }

    fn tick_every(&mut self, period: Duration, ctx: &mut Context<Self>) {
        if let Some((_, ticks)) = self.ticks.take() {
            ctx.cancel_future(ticks);
        }
        if !period.is_zero() {
            self.tick_at(Instant::now() + period, period, ctx);
        }
    }

    fn tick_at(&mut self, due: Instant, period: Duration, ctx: &mut Context<Self>) {
        let wait = due.saturating_duration_since(Instant::now());
        let tick = ctx.run_later(wait, move |this, ctx| {
            // One that is cancelled in the pass in which it is due runs nevertheless.
            if this.ticks.take_if(|(its, _)| *its == due).is_none() {
                return;
            }
            let now = Instant::now();
            // Ticks that were missed are left out.
            let next = if due + period > now { due + period } else { now + period };
            this.tick_at(next, period, ctx);
            if this.has_lapsed(ctx) {
                return;
            }
            this.call(|room, context| room.on_tick(context));
            this.settle(ctx);
        });
        self.ticks = Some((due, tick));
    }

    /// Lets a peer join. The mailbox waits while the room decides.
    fn join(&mut self, peer: PeerId, answer: Answer, ctx: &mut Context<Self>) {
        let door = self.shared.door();
        let asked = match door {
            Err(shut) if self.roster().turn_away(peer) => Err(shut),
            _ => self.roster().ask(peer, self.settings.max_peers),
        };
        match asked {
            Ok(Some(member)) => ctx.wait(self.ask(member).map(|admitted, this, ctx| {
                if this.has_lapsed(ctx) {
                    _ = answer.send(Err(JoinError::RoomUnavailable));
                    return;
                }
                this.settle(ctx);
                if admitted.is_err() {
                    this.close_if_empty(ctx);
                }
                _ = answer.send(admitted);
            })),
            Ok(None) => _ = answer.send(Ok(())),
            Err(error) => {
                self.close_if_empty(ctx);
                _ = answer.send(Err(error));
            }
        }
    }

    /// Asks the room whether the peer may join. The room's state is in the future meanwhile, and the mailbox waits.
    fn ask(
        &mut self,
        member: Member,
    ) -> impl ActorFuture<Self, Output = Result<(), JoinError>> + use<> {
        let (context, room) = (Rc::clone(&self.context), self.room.take());
        let (peer, limit) = (member.peer_id(), self.settings.join_timeout);
        let shared = Arc::clone(&self.shared);
        let asking = async move {
            let Some(mut room) = room else { return (None, Err(JoinError::RoomUnavailable)) };
            let joining = timeout(limit, room.on_join(member.auth(), &context));
            let joining = unless_fenced(&shared, context.wake_ups.meanwhile(joining));
            let answer = match joining.await {
                Some(Ok(joined)) => joined.map_err(JoinError::Rejected),
                Some(Err(_)) => Err(JoinError::TimedOut),
                None => Err(JoinError::RoomUnavailable),
            };
            (Some(room), answer)
        };
        asking.into_actor(self).map(move |(room, answer), this, _| {
            this.room = room;
            let door = this.shared.door();
            let mut roster = this.roster();
            match (answer, door) {
                (Ok(()), Err(shut)) if roster.revoke(peer) => Err(shut),
                (answer, _) => roster.answered(peer, answer),
            }
        })
    }

    /// Takes a snapshot, and works no further message until it is decided what becomes of the room.
    fn freeze(
        &mut self,
        answer: oneshot::Sender<Option<Snapshot>>,
        fate: oneshot::Receiver<Fate>,
        ctx: &mut Context<Self>,
    ) {
        if answer.is_closed() {
            return;
        }
        let snapshot = self.snapshot();
        self.roster().freeze(true);
        self.context.wake_ups.flush();
        // Whose caller is gone, is thawed below.
        _ = answer.send(snapshot);
        let shared = Arc::clone(&self.shared);
        let fate = async move { unless_fenced(&shared, fate).await.and_then(Result::ok) };
        ctx.wait(fate.into_actor(self).map(|fate, this, ctx| match fate.unwrap_or(Fate::Thaw) {
            Fate::Thaw => {
                this.roster().freeze(false);
                _ = this.has_lapsed(ctx);
            }
            Fate::HandedOver => {
                this.roster().hand_over();
                ctx.exit(ExitReason::Normal);
            }
        }));
    }

    fn close_if_empty(&mut self, ctx: &mut Context<Self>) {
        if self.settings.close_when_empty && self.shared.close_if_empty() {
            self.terminate();
            ctx.exit(ExitReason::Normal);
        }
    }

    fn close(&mut self, details: &Value, close: CloseFrame, ctx: &mut Context<Self>) {
        self.shared.close(details, close);
        self.terminate();
        ctx.exit(ExitReason::Normal);
    }

    /// Runs `on_terminate`, once; a panic in it must not keep the room from closing.
    fn terminate(&mut self) {
        if !self.roster().terminate() {
            return;
        }
        let terminating =
            AssertUnwindSafe(|| self.call(|room, context| room.on_terminate(context)));
        if let Err(panic) = catch_unwind(terminating) {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("a panic");
            log::error!("room {:?}: on_terminate panicked: {text}", self.shared.name);
        }
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.shared.runs_as(Some(ctx.address().recipient()));
        ctx.spawn(FlushWhenIdle(Rc::clone(&self.context.wake_ups)));
        if self.edge.is_some() {
            return self.start_away(ctx);
        }
        self.watch_hold(ctx);
        if self.has_lapsed(ctx) {
            return;
        }
        if self.settings.reopens {
            // Who has asked for it may have given up meanwhile.
            ctx.run_later(ABANDONED, |this, ctx| this.close_if_empty(ctx));
        }
        if !self.roster().started() {
            return self.settle(ctx);
        }
        match self.settings.on_crash {
            _ if std::mem::take(&mut self.is_restored) => {
                self.roster().restored();
                self.settle(ctx);
                self.close_if_empty(ctx);
            }
            OnCrash::Readopt => self.readopt(ctx),
            OnCrash::Close => {
                self.shared.dismiss(&"crashed".into(), CloseFrame::ROOM_FAILED);
                self.settle(ctx);
                self.close_if_empty(ctx);
            }
        }
    }

    /// Runs also after a crash; then no peer is told that the room closes, and `on_terminate` is not called.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.context.wake_ups.flush();
        self.shared.runs_as(None);
        if self.edge.is_some() {
            return self.stop_away(has_panicked());
        }
        if self.room.is_none() || has_panicked() {
            return self.roster().crashed();
        }
        if !self.roster().is_closed() {
            self.shared.close(&"shutdown".into(), CloseFrame::GOING_AWAY);
        }
        self.terminate();
    }
}

impl Handler<RoomCommand> for RoomActor {
    type Result = ();

    fn handle(&mut self, command: RoomCommand, ctx: &mut Self::Context) {
        if self.edge.is_some() {
            return self.handle_away(command, ctx);
        }
        if self.has_lapsed(ctx) {
            return command.refuse();
        }
        match command {
            RoomCommand::Join { peer, answer } => self.join(peer, answer, ctx),
            RoomCommand::ForwardFrom { origin, message, credit } => {
                self.forward_from(origin, message);
                self.settle(ctx);
                drop(credit);
            }
            RoomCommand::Forward { message, answer } => {
                let forwarded = self.forward(message, None);
                self.settle(ctx);
                _ = answer.send(forwarded);
            }
            RoomCommand::Tell(on_tell) => {
                self.call(|room, context| on_tell(room.as_any(), context));
                self.settle(ctx);
            }
            RoomCommand::Depart => {
                self.roster().announce_departures();
                self.settle(ctx);
                self.close_if_empty(ctx);
            }
            RoomCommand::ListMembers => self.settle(ctx),
            RoomCommand::AdoptOffered => self.adopt_offered(ctx),
            RoomCommand::Freeze { answer, fate } => self.freeze(answer, fate, ctx),
            RoomCommand::Leave(leave) => self.depart_to(leave, ctx),
            RoomCommand::Mark(handled) => _ = handled.send(()),
            // The room is at home: its peers have no seats elsewhere.
            command @ (RoomCommand::Detach { .. } | RoomCommand::Adopt { .. }) => command.refuse(),
            RoomCommand::Stop { details, close, done } => {
                self.close(&details, close, ctx);
                _ = done.send(());
            }
        }
    }
}

/// Time after which a room that was opened on demand, and that no peer has joined, is closed if it is to close when it
/// is empty.
const ABANDONED: Duration = Duration::from_secs(30);
