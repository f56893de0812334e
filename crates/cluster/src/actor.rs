//! Actor of a node: carries out what its core asks for.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::boot_time::Now;
use crate::core::{Call, CallId, Core, Granted, Output, Proof, Refused, RefusedToGive, Ticket};
use crate::directory::{Change, Directory, DirectoryError};
use crate::error::{ClaimError, Elsewhere, GiveError};
use crate::hold::{Hold, Inner, Lease};
use crate::liveness::probe;
use crate::messages::{ClaimRoom, Drain, GiveRoomBack, ListCandidates, MoveRoom, WatchRoom};
use crate::node_id::Incarnation;
use crate::record::{Given, Revision};
use crate::shared::{ActorRef, Shared};
use crate::watches::Watches;

/// Actor of a node. It does not use the common driver, whose timers stand still while the machine sleeps.
pub(crate) struct NodeActor {
    shared: Arc<Shared>,
    /// Number of this instance.
    instance: u64,
    core: Core,
    /// Session whose lease is the present one.
    leased: Option<Incarnation>,
    lease: Arc<Lease>,
    /// Holds, and their numbers.
    holds: HashMap<Arc<str>, (u64, Weak<Inner>)>,
    requests: HashMap<Ticket, Request>,
    /// Rooms that are being given to other nodes, and who waits for that.
    giving: HashMap<Ticket, (Arc<str>, GiveAnswer)>,
    watches: Watches,
    /// Holds that were given out since the last input. They are not given back before all answers are: two handles that
    /// are given out at once are one hold.
    given: Vec<Hold>,
    tickets: u64,
    timer: Option<SpawnHandle>,
    stream: Option<SpawnHandle>,
    /// Streams in a row that have said nothing.
    silent_streams: u32,
}

type GiveAnswer = oneshot::Sender<Result<Given, GiveError>>;

/// Request for a room.
struct Request {
    room: Arc<str>,
    answer: oneshot::Sender<Result<Hold, ClaimError>>,
    /// Hold that the room had when it was asked for, which is kept until the answer is given.
    kept: Option<Hold>,
}

impl NodeActor {
    /// Creates the instance that was [admitted](Shared::admit) with this number.
    pub(crate) fn new(shared: Arc<Shared>, instance: u64) -> Self {
        Self {
            core: Core::new(shared.identity(), shared.timing),
            shared,
            instance,
            leased: None,
            lease: Arc::default(),
            holds: HashMap::new(),
            requests: HashMap::new(),
            giving: HashMap::new(),
            watches: Watches::default(),
            given: Vec::new(),
            tickets: 0,
            timer: None,
            stream: None,
            silent_streams: 0,
        }
    }

    /// Passes an input to the core, carries out what it asks for, and sets the timer for what is due next.
    fn drive(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Core, Now)) {
        if !self.shared.is_present(self.instance) {
            log::warn!("this instance of the node has a successor: it ends");
            self.end_holds();
            self.requests.clear();
            self.giving.clear();
            ctx.terminate();
            return;
        }
        let now = self.shared.clock.now();
        input(&mut self.core, now);
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output, ctx);
        }
        self.given.clear();
        self.shared.counts.watches(self.core.answering());
        if self.core.has_left() {
            ctx.stop();
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = self.core.poll_timeout().since(self.shared.clock.boot());
        // It looks again in good time after the machine has slept.
        let wait = wait.clamp(SHORTEST_SLEEP, self.shared.timing.renewal);
        self.timer = Some(ctx.run_later(wait, |actor, ctx| actor.drive(ctx, Core::handle_timeout)));
    }

    fn carry_out(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            Output::Call(id, call) => self.call(ctx, id, call),
            Output::Holds(incarnation, deadline) => {
                if self.leased != Some(incarnation) {
                    log::info!("this node has entered the cluster as {incarnation:?}");
                    (self.leased, self.lease) = (Some(incarnation), Arc::default());
                    self.shared.set_lease(self.instance, Arc::clone(&self.lease));
                    if let Some(lines) = &self.shared.lines {
                        lines.set_entered(true);
                    }
                }
                self.lease.extend(deadline);
            }
            Output::Lapsed => {
                self.shared.counts.lapses.add_one();
                log::warn!("this node's session has ended, and with it the hold of every room");
                self.end_holds();
            }
            Output::Yielded(room) => {
                self.shared.counts.yields.add_one();
                log::warn!(
                    "another node has room {room:?} since the directory has lost its records"
                );
                if let Some((_, hold)) = self.holds.remove(&room) {
                    end(&hold);
                }
            }
            Output::Answer(ticket, answer) => self.answer(ticket, answer),
            Output::Given(ticket, given) => self.gave(ticket, given),
            Output::Seen(session) => {
                let (node, process) = (&session.node, session.incarnation.process);
                let runs = session.state.runs();
                self.shared.presence.handle_session(node, process, runs);
                if let Some(lines) = &self.shared.lines {
                    lines.handle_session(node, process, runs);
                }
                self.shared.nodes.see(*session);
            }
            Output::Forgotten => {
                self.shared.presence.handle_forgotten();
                self.shared.nodes.forget();
            }
            Output::Sealed(node, Proof::Silence) => {
                self.shared.counts.seals.add_one();
                log::warn!("node {node} is silent: its rooms are free");
            }
            Output::Sealed(node, Proof::Refusal) => {
                self.shared.counts.refusals.add_one();
                log::warn!("the process of node {node} is gone: its rooms are free");
            }
            Output::Probe(node, address) => {
                let probing = probe(address).into_actor(self).map(move |probed, actor, ctx| {
                    actor.drive(ctx, |core, now| core.handle_probed(now, &node, probed));
                });
                ctx.spawn(probing);
            }
            Output::TakenForGone(node) => log::warn!(
                "node {node} is refused at this node's liveness address, and not by this process: something on the way \
                 rejects connections"
            ),
            Output::Replaced => {
                self.shared.counts.replacements.add_one();
                log::info!("an earlier process of this node has ended: its rooms are free");
            }
            Output::Refresh => {
                log::info!("the directory's stream of changes says nothing: it is replaced");
                // Otherwise another is on its way.
                if self.stream.is_some() {
                    self.listen_again(ctx);
                }
            }
        }
    }

    fn call(&mut self, ctx: &mut Context<Self>, id: CallId, call: Call) {
        if let Call::Enter(session, _) = &call {
            self.shared.used(session.incarnation.term);
        }
        let shared = Arc::clone(&self.shared);
        let calling = async move {
            let limit = shared.timing.renewal.min(LONGEST_CALL);
            let (renews, began) = (matches!(call, Call::Renew(..)), shared.clock.boot());
            let calling = make(&*shared.directory, call);
            let outcome = tokio::time::timeout(limit, calling).await.unwrap_or_else(|_| {
                Err(DirectoryError::Unknown(format!("no answer in {limit:?}")))
            });
            shared.counts.called(!matches!(outcome, Err(DirectoryError::Unknown(_))));
            if renews && outcome.is_ok() {
                shared.counts.renewed(shared.clock.boot().since(began));
            }
            outcome
        };
        let calling = calling.into_actor(self).map(move |outcome, actor, ctx| {
            if let Err(DirectoryError::Unknown(cause)) = &outcome {
                log::debug!("the outcome of a call of the directory is unknown: {cause}");
            }
            actor.drive(ctx, |core, now| core.handle_outcome(now, id, outcome));
        });
        ctx.spawn(calling);
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Granted, Refused>) {
        let Some(Request { room, answer: request, kept }) = self.requests.remove(&ticket) else {
            return;
        };
        let answer = match answer {
            Ok(granted) => {
                let hold = self.hold(room, granted);
                self.given.extend(kept.into_iter().chain([hold.clone()]));
                Ok(hold)
            }
            Err(Refused::Elsewhere { node, url, epoch }) => {
                Err(ClaimError::Elsewhere(Elsewhere { node, url, epoch }))
            }
            Err(Refused::Unavailable(retry_after)) => Err(ClaimError::Unavailable { retry_after }),
        };
        // A hold that no one waits for any more is dropped here, and so given back.
        _ = request.send(answer);
    }

    /// Handles that a room was given to another node, or was not. The hold of one that was ends with its last use.
    fn gave(&mut self, ticket: Ticket, given: Result<Given, RefusedToGive>) {
        let Some((room, answer)) = self.giving.remove(&ticket) else { return };
        if given.is_ok() {
            self.holds.remove(&room);
        }
        _ = answer.send(given.map_err(|refused| match refused {
            RefusedToGive::NotHeld => GiveError::NotHeld,
            RefusedToGive::NoSuchNode => GiveError::NoSuchNode,
            RefusedToGive::Unavailable => GiveError::Unavailable,
        }));
    }

    fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Returns a handle to the hold of a room: to the one that there is, or a new one.
    fn hold(&mut self, room: Arc<str>, granted: Granted) -> Hold {
        if let Some(hold) = self.holds.get(&room).and_then(|(_, hold)| Hold::upgrade(hold)) {
            return hold;
        }
        let number = self.shared.next_hold();
        let (shared, name) = (Arc::downgrade(&self.shared), Arc::clone(&room));
        let give_back = Box::new(move || {
            let actor = shared.upgrade().and_then(|shared| shared.actor());
            // One for each hold.
            _ = actor.map(|actor| {
                actor.returns.do_send(GiveRoomBack { room: Arc::clone(&name), number })
            });
        });
        let (lease, clock) = (Arc::clone(&self.lease), self.shared.clock);
        let hold = Hold::new(Arc::clone(&room), granted, lease, clock, give_back);
        self.holds.insert(room, (number, hold.downgrade()));
        hold
    }

    fn end_holds(&mut self) {
        self.lease.end();
        self.holds.drain().for_each(|(_, (_, hold))| end(&hold));
    }

    fn listen(&mut self, ctx: &mut Context<Self>) {
        self.stream = Some(ctx.add_stream(self.shared.directory.changes()));
        self.drive(ctx, Core::handle_asked);
    }

    /// Answers those who look whether this process lives.
    fn say_that_it_lives(&self, ctx: &mut Context<Self>) {
        let shared = Arc::clone(&self.shared);
        if shared.identity().liveness.is_none() {
            return;
        }
        let answering = async move {
            match &shared.name.liveness {
                Some(liveness) => liveness.answer().await,
                None => std::future::pending().await,
            }
        };
        let answering = answering.into_actor(self).map(|error, actor, ctx| {
            log::warn!("this process cannot be reached at its liveness address any more: {error}");
            actor.drive(ctx, Core::handle_unreachable);
        });
        ctx.spawn(answering);
    }

    /// Replaces the stream of changes, after a pause that grows with each stream that has said nothing.
    fn listen_again(&mut self, ctx: &mut Context<Self>) {
        if let Some(stream) = self.stream.take() {
            ctx.cancel_future(stream);
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.silent_streams.min(MOST_DOUBLINGS));
        self.silent_streams += 1;
        ctx.run_later(pause, |actor, ctx| {
            if actor.stream.is_none() {
                actor.listen(ctx);
            }
        });
    }
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (claims, returns) = (ctx.address().recipient(), ctx.address().recipient());
        let (drains, watches) = (ctx.address().recipient(), ctx.address().recipient());
        let (candidates, moves) = (ctx.address().recipient(), ctx.address().recipient());
        let actor = ActorRef { claims, returns, drains, watches, candidates, moves };
        self.shared.begin(self.instance, actor);
        self.listen(ctx);
        self.say_that_it_lives(ctx);
        if self.shared.is_draining() {
            self.drive(ctx, Core::handle_drain);
        }
    }

    /// Leaves the cluster before it stops.
    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        self.drive(ctx, Core::handle_leave);
        let over = self.core.has_left() || !self.shared.is_present(self.instance);
        if over { Running::Stop } else { Running::Continue }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.shared.end(self.instance);
    }
}

impl Drop for NodeActor {
    /// Ends what the node holds, also if the actor has panicked or was killed.
    fn drop(&mut self) {
        self.end_holds();
        self.shared.end(self.instance);
    }
}

impl StreamHandler<Change> for NodeActor {
    fn handle(&mut self, change: Change, ctx: &mut Context<Self>) {
        self.silent_streams = 0;
        let changed = match &change {
            Change::Claim(room, ..) => Some(Some(Arc::clone(room))),
            Change::Whole(_) => Some(None),
            _ => None,
        };
        self.drive(ctx, |core, now| core.handle_change(now, change));
        if let Some(room) = changed {
            let core = &self.core;
            self.watches.answer(room.as_ref(), &|room, after| core.claimed_after(room, after));
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx, |core, now| core.handle_change(now, Change::Lost));
        self.listen_again(ctx);
    }
}

impl Handler<ClaimRoom> for NodeActor {
    type Result = ();

    fn handle(&mut self, ClaimRoom { room, answer }: ClaimRoom, ctx: &mut Context<Self>) {
        if answer.is_closed() {
            // Nothing waits for it any more.
            return;
        }
        let held = self.holds.get(&room).map(|(_, hold)| Hold::upgrade(hold));
        if let Some(None) = held {
            // It was dropped, and this request has overtaken the word of that: the next hold is another.
            self.holds.remove(&room);
            self.drive(ctx, |core, now| core.handle_release(now, &room));
        }
        let ticket = self.next_ticket();
        let request = Request { room: Arc::clone(&room), answer, kept: held.flatten() };
        self.requests.insert(ticket, request);
        self.drive(ctx, |core, now| core.handle_claim(now, &room, ticket));
    }
}

impl Handler<ListCandidates> for NodeActor {
    type Result = ();

    fn handle(&mut self, ListCandidates { room, answer }: ListCandidates, _: &mut Context<Self>) {
        let now = self.shared.clock.now();
        _ = answer.send(match room {
            Some(room) => self.core.candidates(now, &room),
            None => self.core.loads(now),
        });
    }
}

impl Handler<Drain> for NodeActor {
    type Result = ();

    fn handle(&mut self, Drain: Drain, ctx: &mut Context<Self>) {
        self.drive(ctx, Core::handle_drain);
    }
}

impl Handler<GiveRoomBack> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: GiveRoomBack, ctx: &mut Context<Self>) {
        let GiveRoomBack { room, number } = message;
        if self.holds.get(&room).is_some_and(|(held, _)| *held == number) {
            self.holds.remove(&room);
            self.drive(ctx, |core, now| core.handle_release(now, &room));
        }
    }
}

impl Handler<MoveRoom> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: MoveRoom, ctx: &mut Context<Self>) {
        match message {
            MoveRoom::Give { hold, to, answer } => {
                let room: Arc<str> = hold.room().into();
                if !self.holds.get(&room).is_some_and(|(_, held)| hold.is(held)) {
                    _ = answer.send(Err(GiveError::NotHeld));
                    return;
                }
                let ticket = self.next_ticket();
                self.giving.insert(ticket, (Arc::clone(&room), answer));
                self.drive(ctx, |core, now| core.handle_give(now, &room, ticket, &to));
            }
            MoveRoom::Expect { room, from, registered, answer } => {
                let ticket = self.next_ticket();
                let request = Request { room: Arc::clone(&room), answer, kept: None };
                self.requests.insert(ticket, request);
                self.drive(ctx, |core, now| core.handle_expect(now, &room, ticket, from));
                _ = registered.send(());
            }
            MoveRoom::Given { room, given } => {
                self.drive(ctx, |core, now| core.handle_given(now, &room, given));
            }
            MoveRoom::ExpectNoMore { room } => {
                let ended = |(ticket, request): (&Ticket, &Request)| {
                    (request.room == room && request.answer.is_closed()).then_some(*ticket)
                };
                for ticket in self.requests.iter().filter_map(ended).collect::<Vec<_>>() {
                    // It is answered no more, if it was expected.
                    self.drive(ctx, |core, now| core.handle_expect_no_more(now, &room, ticket));
                }
            }
        }
    }
}

impl Handler<WatchRoom> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: WatchRoom, _: &mut Context<Self>) {
        let WatchRoom { room, after, answer } = message;
        self.watches.add(Arc::clone(&room), after, answer);
        let core = &self.core;
        self.watches.answer(Some(&room), &|room, after| core.claimed_after(room, after));
    }
}

async fn make(directory: &dyn Directory, call: Call) -> Result<Revision, DirectoryError> {
    match call {
        Call::Enter(session, was) => directory.enter(session, was).await,
        Call::Renew(session, was) => directory.renew(session, was).await,
        Call::Seal(session, was) => directory.seal(session, was).await,
        Call::Claim(room, claim, was) => directory.claim(room, claim, was).await,
        Call::Forget(key, was) => directory.forget(key, was).await.map(|()| was),
    }
}

fn end(hold: &Weak<Inner>) {
    if let Some(hold) = Hold::upgrade(hold) {
        hold.end();
    }
}

/// Time limit of a call: a lost answer is as good as none, and the node may have to leave within 5 s.
const LONGEST_CALL: Duration = Duration::from_secs(2);
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// Pause before the stream of changes is replaced. It doubles up to 6.4 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MOST_DOUBLINGS: u32 = 6;
