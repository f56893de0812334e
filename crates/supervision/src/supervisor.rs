//! Supervisor actor: drives the core, starts and stops the children, and answers requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::arbiter::{Picked, Placement};
use crate::core::{Answer, Core, Output, Request, State, Token};
use crate::current::{Exit, Starting, defer_start};
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::instance::{Orders, Report, Reporter, Ticket, What};
use crate::monitor::{self, Control, Lifeline, Name, Peg};
use crate::node::{Entry, Node};
use crate::policy::{Attempt, ChildKind, Key};
use crate::spec::{ChildSpec, SupervisorSpec};
use crate::tree::{InstanceId, Lifecycle, Station, Status};

/// Supervisor actor, used through its [`SupervisorRef`](crate::SupervisorRef).
pub struct Supervisor {
    spec: Option<SupervisorSpec>,
    node: Arc<Node>,
    /// Number of this instance among those of the node; 0 until it begins.
    life: u64,
    core: Option<Core>,
    /// Boxed, because a node of the map has room for eleven.
    kids: BTreeMap<Key, Box<Kid>>,
    /// Specs that came with requests to start a child.
    offered: HashMap<Token, ChildSpec>,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    /// Address to which all children report.
    itself: Option<Arc<Recipient<Report>>>,
    next_token: u64,
    starting: Option<Starting>,
    /// Whether it was asked to stop from outside, rather than by its own rules.
    asked: bool,
    ended: bool,
    timer: SpawnHandle,
    wakes_at: Option<std::time::Instant>,
}

struct Kid {
    spec: ChildSpec,
    station: Arc<Station>,
    node: Option<Arc<Node>>,
    life: Option<Life>,
}

/// Current instance of a child.
struct Life {
    attempt: Attempt,
    peg: Arc<Peg>,
    /// Dropped with the supervisor, which tells the instance that its supervisor is gone.
    _lifeline: Lifeline,
    picked: Option<Picked>,
}

/// Request to the supervisor, with the child's spec if a child is to start. The answer goes straight to the caller.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) spec: Option<ChildSpec>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Request to stop the child with this instance.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskToTerminate {
    pub(crate) instance: InstanceId,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Injects a fault into the child with this id; answers whether an instance was there.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct Inject(pub(crate) Arc<str>, pub(crate) Fault);

impl Supervisor {
    pub(crate) fn new(spec: SupervisorSpec, node: Arc<Node>) -> Self {
        Self {
            spec: Some(spec),
            node,
            life: 0,
            core: None,
            kids: BTreeMap::new(),
            offered: HashMap::new(),
            waiting: HashMap::new(),
            itself: None,
            next_token: 0,
            starting: None,
            asked: false,
            ended: false,
            timer: SpawnHandle::default(),
            wakes_at: None,
        }
    }

    /// Gives one input to the core, then carries out everything it decides.
    fn drive(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Core, std::time::Instant),
    ) {
        let Some(core) = &mut self.core else { return };
        input(core, Instant::now().into_std());
        while let Some(output) = self.core.as_mut().and_then(Core::poll_output) {
            self.carry_out(ctx, output);
        }
        // A supervisor is idle most of the time, and there are many small ones.
        if self.offered.is_empty() && self.waiting.is_empty() {
            (self.offered, self.waiting) = (HashMap::new(), HashMap::new());
        }
        if let Some(deadline) = self.core.as_ref().and_then(Core::poll_timeout) {
            self.wake_by(ctx, deadline);
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>, output: Output) {
        match output {
            Output::Start { key, attempt } => self.start(ctx, key, attempt),
            Output::Stop { key, attempt, how } => {
                if let Some(life) = self.life(key, attempt) {
                    self.show(key, |station| station.set_status(Status::Stopping));
                    life.control(Control::Stop { reason: ExitReason::SHUTDOWN, how });
                }
            }
            Output::Abandon { key, attempt } => self.abandon(key, attempt),
            Output::Adopt { token, key } => {
                if let Some(spec) = self.offered.remove(&token) {
                    self.adopt(key, spec, None);
                }
            }
            Output::Forget { key } => {
                self.node.remove(self.life, key);
                self.kids.remove(&key);
            }
            Output::Became { key, state } => {
                self.show(key, |station| station.set_status(status(state)));
            }
            Output::Restarted { key } => self.show(key, Station::restarted),
            Output::GaveUp { key } => {
                let child = self.kids.get(&key).map_or("?", |kid| kid.station.path.name());
                self.node.gave_up(child);
            }
            Output::Reply { token, answer } => {
                self.offered.remove(&token);
                if let Some(waiting) = self.waiting.remove(&token) {
                    _ = waiting.send(answer);
                }
            }
            Output::Began => {
                if let Some(starting) = self.starting.take() {
                    starting.ready();
                }
            }
            Output::BeginFailed(error) => self.fail_start(ctx, error),
            Output::Ended(reason) => {
                self.ended = true;
                // If it was asked to stop, it ends with the reason of that order.
                if self.asked { ctx.stop() } else { ctx.exit(reason) }
            }
        }
    }

    fn fail_start(&mut self, ctx: &mut Context<Self>, error: StartSupervisorError) {
        self.ended = true;
        if let Some(starting) = self.starting.take() {
            starting.fail(StartError::Supervisor(Box::new(error)));
        }
        ctx.stop();
    }

    /// Adds a child. If the last instance of this supervisor had a child of this name and actor type, its record and
    /// slot are used again, so that old handles lead to the new child.
    fn adopt(&mut self, key: Key, mut spec: ChildSpec, known: Option<Entry>) {
        let known = known.filter(|known| spec.factory.take_over(&known.slot));
        let entry = known.unwrap_or_else(|| self.entry(&spec));
        let (station, node) = (Arc::clone(&entry.station), entry.node.clone());
        self.node.insert(self.life, key, Arc::clone(&spec.id), entry);
        self.kids.insert(key, Box::new(Kid { spec, station, node, life: None }));
    }

    fn entry(&self, spec: &ChildSpec) -> Entry {
        let above = &self.node.station;
        let (path, kind) = (above.path.join(&spec.id), spec.policy.kind);
        let station = Station::new(path, Arc::clone(&above.tree), kind, spec.factory.type_name());
        let node = (kind == ChildKind::Supervisor).then(|| Node::new(Arc::clone(&station)));
        Entry { station, slot: spec.factory.slot(), node }
    }

    fn start(&mut self, ctx: &mut Context<Self>, key: Key, attempt: Attempt) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        let itself = self.itself.get_or_insert_with(|| Arc::new(ctx.address().recipient()));
        let peg = Peg::new(Name::Station(Arc::clone(&kid.station)));
        let lifeline = Lifeline(Arc::clone(&peg));
        let ticket = Ticket {
            station: Arc::clone(&kid.station),
            peg: Arc::clone(&peg),
            slot: kid.spec.factory.vacate(),
            reporter: Reporter::Supervisor { to: Arc::clone(itself), key, attempt },
            started: false,
            done: false,
            last: false,
        };
        let policy = kid.spec.policy;
        let orders =
            Orders { ticket, shutdown: policy.shutdown, start_timeout: policy.start_timeout };
        let launch = kid.spec.factory.launch(kid.node.clone(), orders);
        let picked = match &kid.spec.placement {
            Placement::Pool(pool) => Some(pool.pick()),
            Placement::Supervisor | Placement::On(_) => None,
        };
        kid.life = Some(Life { attempt, peg, _lifeline: lifeline, picked: picked.clone() });
        match (&kid.spec.placement, picked) {
            (_, Some(picked)) => _ = picked.arbiter.spawn_fn(launch),
            // An arbiter that has ended drops the launch unrun; the drop reports that.
            (Placement::On(arbiter), None) => _ = arbiter.spawn_fn(launch),
            (Placement::Supervisor | Placement::Pool(_), None) => launch(),
        }
    }

    /// Abandons an instance whose thread is blocked. Its address leads nowhere from now on, and its thread gets no more
    /// work.
    fn abandon(&mut self, key: Key, attempt: Attempt) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        let Some(life) = kid.life.take_if(|life| life.attempt == attempt) else { return };
        kid.spec.factory.vacate().vacate(life.peg.instance);
        kid.station.tree.abandoned.fetch_add(1, Ordering::Relaxed);
        kid.station.happened(life.peg.instance, Lifecycle::Abandoned);
        life.peg.ended(&ExitReason::Killed);
        // If it ever runs again, it ends at once.
        life.peg.control(Control::Fault(Fault::Kill));
        if let (Placement::Pool(pool), Some(picked)) = (&kid.spec.placement, &life.picked) {
            pool.replace(picked);
        }
    }

    fn life(&self, key: Key, attempt: Attempt) -> Option<&Peg> {
        let life = self.kids.get(&key)?.life.as_ref();
        life.filter(|life| life.attempt == attempt).map(|life| &*life.peg)
    }

    /// Shows a change of a child in the tree, unless a later instance of this supervisor shows its own children there.
    fn show(&self, key: Key, what: impl FnOnce(&Station)) {
        if let Some(kid) = self.kids.get(&key)
            && self.node.is_current(self.life)
        {
            what(&kid.station);
        }
    }

    /// Sets the timer to no later than `deadline`; waking early is harmless.
    fn wake_by(&mut self, ctx: &mut Context<Self>, deadline: std::time::Instant) {
        if self.wakes_at.is_some_and(|at| at <= deadline) {
            return;
        }
        ctx.cancel_future(self.timer);
        self.wakes_at = Some(deadline);
        let wait = deadline.saturating_duration_since(Instant::now().into_std());
        self.timer = ctx.run_later(wait, |this, ctx| {
            this.wakes_at = None;
            this.drive(ctx, |core, now| core.handle_timeout(now));
        });
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.starting = Some(defer_start());
        let Some(SupervisorSpec { flags, dynamic, children }) = self.spec.take() else { return };
        let policies = children.iter().map(|child| (Arc::clone(&child.id), child.policy)).collect();
        match Core::new(flags, dynamic, policies, fastrand::u64(..)) {
            Ok(core) => {
                let (life, mut known) = self.node.reset(flags, children.len());
                self.life = life;
                for (index, child) in children.into_iter().enumerate() {
                    let known = known.remove(&child.id);
                    self.adopt(Key(index as u64), child, known);
                }
                self.core = Some(core);
                self.drive(ctx, |core, now| core.begin(now));
            }
            Err(error) => self.fail_start(ctx, error.into()),
        }
    }

    /// Stops the children first when the supervisor has been asked to stop.
    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if !self.ended {
            self.asked = true;
            self.drive(ctx, |core, now| core.handle_shutdown(now, ExitReason::SHUTDOWN));
        }
        if self.ended || self.core.is_none() { Running::Stop } else { Running::Continue }
    }
}

impl Drop for Supervisor {
    /// Drops the children with the supervisor, however it ends: the youngest is told first.
    fn drop(&mut self) {
        while let Some((_, kid)) = self.kids.pop_last() {
            drop(kid);
        }
    }
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, Report { key, attempt, what }: Report, ctx: &mut Self::Context) {
        if !matches!(what, What::Started(_))
            && let Some(kid) = self.kids.get_mut(&key)
        {
            kid.life.take_if(|life| life.attempt == attempt);
        }
        self.drive(ctx, |core, now| match what {
            What::Started(info) => core.handle_started(now, key, attempt, info),
            What::StartFailed(error) => core.handle_start_failed(now, key, attempt, error),
            What::Ended(reason) => core.handle_exit(now, key, attempt, reason),
        });
    }
}

impl Handler<Ask> for Supervisor {
    type Result = ();

    fn handle(&mut self, Ask { request, spec, answer }: Ask, ctx: &mut Self::Context) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, answer);
        self.offered.extend(spec.map(|spec| (token, spec)));
        self.drive(ctx, |core, now| core.handle_request(now, token, request));
    }
}

impl Handler<AskToTerminate> for Supervisor {
    type Result = ();

    fn handle(
        &mut self,
        AskToTerminate { instance, answer }: AskToTerminate,
        ctx: &mut Self::Context,
    ) {
        let mut lives = self.kids.iter().filter_map(|(&key, kid)| Some((key, kid.life.as_ref()?)));
        let ours = lives.find(|(_, life)| life.peg.instance == instance);
        let ours = ours.map(|(key, life)| (key, life.attempt));
        if ours.is_none() && monitor::lives(instance) {
            _ = answer.send(Answer::NotFound);
            return;
        }
        let request = Request::TerminateInstance(ours);
        self.handle(Ask { request, spec: None, answer }, ctx);
    }
}

impl Handler<Inject> for Supervisor {
    type Result = bool;

    fn handle(&mut self, Inject(id, fault): Inject, _: &mut Self::Context) -> bool {
        let kid = self.kids.values().find(|kid| kid.spec.id == id);
        let life = kid.and_then(|kid| kid.life.as_ref());
        if let Some(life) = life {
            life.peg.control(Control::Fault(fault));
        }
        life.is_some()
    }
}

/// Returns the status that the tree shows for this state of a child.
pub(crate) fn status(state: State) -> Status {
    match state {
        State::Down => Status::Stopped,
        State::Starting(_) => Status::Starting,
        State::Running(_) => Status::Running,
        State::Restarting => Status::Restarting,
    }
}
