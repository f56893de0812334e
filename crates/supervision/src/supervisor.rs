//! Supervisor actor: drives the core, starts and stops the children, and answers requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::arbiter::{PickedThread, Placement};
use crate::core::{Answer, Core, Output, Request, State, Token};
use crate::current_actor::{Exit, StartReport, defer_start};
use crate::driver::{self, Drive, Driver};
use crate::error::{SpecError, StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::instance::InstanceParams;
use crate::monitor::{self, ControlBlock, Name, Order, OwnerLink};
use crate::node::{Entry, Node};
use crate::policy::{Attempt, ChildKind, Flags, Key};
use crate::reporter::{InstanceReporter, Report, ReportKind, ReportTarget};
use crate::spec::{ChildSpec, SupervisorSpec};
use crate::tree::{ActorRecord, InstanceId, Lifecycle, Status};

/// Supervisor actor, used through its [`SupervisorRef`](crate::SupervisorRef).
pub(crate) struct Supervisor {
    flags: Flags,
    /// Children of the start list, until they are started.
    listed: Vec<ChildSpec>,
    node: Arc<Node>,
    /// Number of this instance among those of the node; 0 until it begins.
    generation: u64,
    driver: Driver<Core>,
    /// Boxed, because a node of the map has room for eleven.
    children: BTreeMap<Key, Box<ChildActor>>,
    /// Specs that came with requests to start a child.
    offered: HashMap<Token, ChildSpec>,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    /// Recipient of the reports of all children.
    itself: Option<Arc<Recipient<Report>>>,
    next_token: u64,
    starting: Option<StartReport>,
    /// Whether it was asked to stop from outside, rather than by its own rules.
    asked: bool,
    ended: bool,
}

/// Child, with its current instance.
struct ChildActor {
    spec: ChildSpec,
    record: Arc<ActorRecord>,
    node: Option<Arc<Node>>,
    instance: Option<CurrentInstance>,
}

/// Current instance of a child.
struct CurrentInstance {
    attempt: Attempt,
    control: Arc<ControlBlock>,
    /// Dropped with the supervisor, which notifies the instance that its supervisor is gone.
    _owner_link: OwnerLink,
    picked: Option<PickedThread>,
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
    /// Creates the actor of a supervisor that is not started.
    ///
    /// # Errors
    /// [`SpecError`] if the specification is wrong.
    pub(crate) fn new(spec: SupervisorSpec, node: Arc<Node>) -> Result<Self, SpecError> {
        let SupervisorSpec { flags, dynamic, children: listed } = spec;
        let policies = listed.iter().map(|child| (Arc::clone(&child.id), child.policy)).collect();
        let core = Core::new(flags, dynamic, policies, fastrand::u64(..))?;
        Ok(Self {
            flags,
            listed,
            node,
            generation: 0,
            driver: Driver::new(core),
            children: BTreeMap::new(),
            offered: HashMap::new(),
            waiting: HashMap::new(),
            itself: None,
            next_token: 0,
            starting: None,
            asked: false,
            ended: false,
        })
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
        let known = known.filter(|known| spec.factory.reuse_slot(&known.slot));
        let entry = known.unwrap_or_else(|| self.entry(&spec));
        let (record, node) = (Arc::clone(&entry.record), entry.node.clone());
        self.node.insert(self.generation, key, Arc::clone(&spec.id), entry);
        self.children.insert(key, Box::new(ChildActor { spec, record, node, instance: None }));
    }

    fn entry(&self, spec: &ChildSpec) -> Entry {
        let above = &self.node.record;
        let (path, kind) = (above.path.join(&spec.id), spec.policy.kind);
        let record =
            ActorRecord::new(path, Arc::clone(&above.tree), kind, spec.factory.type_name());
        let node = (kind == ChildKind::Supervisor).then(|| Node::new(Arc::clone(&record)));
        Entry { record, slot: spec.factory.slot(), node }
    }

    fn start(&mut self, ctx: &mut Context<Self>, key: Key, attempt: Attempt) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let itself = self.itself.get_or_insert_with(|| Arc::new(ctx.address().recipient()));
        let control = ControlBlock::new(Name::Record(Arc::clone(&child.record)));
        let owner_link = OwnerLink(Arc::clone(&control));
        let reporter = InstanceReporter {
            record: Arc::clone(&child.record),
            control: Arc::clone(&control),
            slot: child.spec.factory.vacate(),
            target: ReportTarget::Supervisor { to: Arc::clone(itself), key, attempt },
            started: false,
            done: false,
            last: false,
        };
        let policy = child.spec.policy;
        let params = InstanceParams {
            reporter,
            shutdown: policy.shutdown,
            start_timeout: policy.start_timeout,
        };
        let launch = child.spec.factory.launch(child.node.clone(), params);
        let picked = match &child.spec.placement {
            Placement::Pool(pool) => Some(pool.pick()),
            Placement::Supervisor | Placement::On(_) => None,
        };
        child.instance = Some(CurrentInstance {
            attempt,
            control,
            _owner_link: owner_link,
            picked: picked.clone(),
        });
        match (&child.spec.placement, picked) {
            (_, Some(picked)) => _ = picked.arbiter.spawn_fn(launch),
            // An arbiter that has ended drops the launch unrun; the drop reports that.
            (Placement::On(arbiter), None) => _ = arbiter.spawn_fn(launch),
            (Placement::Supervisor | Placement::Pool(_), None) => launch(),
        }
    }

    /// Abandons an instance whose thread is blocked. Its address leads nowhere from now on, and its thread gets no more
    /// work.
    fn abandon(&mut self, key: Key, attempt: Attempt) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let Some(instance) = child.instance.take_if(|instance| instance.attempt == attempt) else {
            return;
        };
        child.spec.factory.vacate().vacate(instance.control.instance);
        child.record.tree.abandoned.fetch_add(1, Ordering::Relaxed);
        child.record.report(instance.control.instance, Lifecycle::Abandoned);
        instance.control.ended(&ExitReason::Killed);
        // If it ever runs again, it ends at once.
        instance.control.order(Order::Fault(Fault::Kill));
        if let (Placement::Pool(pool), Some(picked)) = (&child.spec.placement, &instance.picked) {
            pool.replace(picked);
        }
    }

    fn control(&self, key: Key, attempt: Attempt) -> Option<&ControlBlock> {
        let instance = self.children.get(&key)?.instance.as_ref();
        instance.filter(|instance| instance.attempt == attempt).map(|instance| &*instance.control)
    }

    /// Shows a change of a child in the tree, unless a later instance of this supervisor shows its own children there.
    fn show(&self, key: Key, what: impl FnOnce(&ActorRecord)) {
        if let Some(child) = self.children.get(&key)
            && self.node.is_current(self.generation)
        {
            what(&child.record);
        }
    }
}

impl driver::Core for Core {
    type Output = Output;

    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }

    fn poll_timeout(&mut self) -> Option<std::time::Instant> {
        Core::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: std::time::Instant) {
        self.handle_timeout(now);
    }
}

impl Drive<Core> for Supervisor {
    fn driver(&mut self) -> &mut Driver<Core> {
        &mut self.driver
    }

    fn carry_out(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            Output::Start { key, attempt } => self.start(ctx, key, attempt),
            Output::Stop { key, attempt, how } => {
                if let Some(control) = self.control(key, attempt) {
                    self.show(key, |record| record.set_status(Status::Stopping));
                    control.order(Order::Stop { reason: ExitReason::SHUTDOWN, how });
                }
            }
            Output::Abandon { key, attempt } => self.abandon(key, attempt),
            Output::Adopt { token, key } => {
                if let Some(spec) = self.offered.remove(&token) {
                    self.adopt(key, spec, None);
                }
            }
            Output::Forget { key } => {
                // The spec first: what it holds is free when others learn that the child is gone.
                self.children.remove(&key);
                self.node.remove(self.generation, key);
            }
            Output::Became { key, state } => {
                self.show(key, |record| record.set_status(status(state)));
            }
            Output::Restarted { key } => self.show(key, ActorRecord::restarted),
            Output::GaveUp { key } => {
                let child = self.children.get(&key).map_or("?", |child| child.record.path.name());
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

    fn settle(&mut self, ctx: &mut Context<Self>) {
        // A supervisor is idle most of the time, and there are many small ones.
        if self.offered.is_empty() && self.waiting.is_empty() {
            (self.offered, self.waiting) = (HashMap::new(), HashMap::new());
        }
        self.schedule(ctx);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.starting = Some(defer_start());
        let listed = std::mem::take(&mut self.listed);
        let (generation, mut known) = self.node.reset(self.flags, listed.len());
        self.generation = generation;
        for (index, child) in listed.into_iter().enumerate() {
            let known = known.remove(&child.id);
            self.adopt(Key(index as u64), child, known);
        }
        self.drive(ctx, Core::begin);
    }

    /// Stops the children first when the supervisor has been asked to stop.
    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if !self.ended {
            self.asked = true;
            self.drive(ctx, |core, now| core.handle_shutdown(now, ExitReason::SHUTDOWN));
        }
        if self.ended { Running::Stop } else { Running::Continue }
    }
}

impl Drop for Supervisor {
    /// Drops the children with the supervisor, however it ends: the youngest gets its order first.
    fn drop(&mut self) {
        while let Some((_, child)) = self.children.pop_last() {
            drop(child);
        }
    }
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, Report { key, attempt, kind }: Report, ctx: &mut Self::Context) {
        if !matches!(kind, ReportKind::Started(_))
            && let Some(child) = self.children.get_mut(&key)
        {
            child.instance.take_if(|instance| instance.attempt == attempt);
        }
        self.drive(ctx, |core, now| match kind {
            ReportKind::Started(info) => core.handle_started(now, key, attempt, info),
            ReportKind::StartFailed(error) => core.handle_start_failed(now, key, attempt, error),
            ReportKind::Ended(reason) => core.handle_exit(now, key, attempt, reason),
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
        let mut current =
            self.children.iter().filter_map(|(&key, child)| Some((key, child.instance.as_ref()?)));
        let ours = current.find(|(_, current)| current.control.instance == instance);
        let ours = ours.map(|(key, current)| (key, current.attempt));
        if ours.is_none() && monitor::is_running(instance) {
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
        let child = self.children.values().find(|child| child.spec.id == id);
        let instance = child.and_then(|child| child.instance.as_ref());
        if let Some(instance) = instance {
            instance.control.order(Order::Fault(fault));
        }
        instance.is_some()
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
