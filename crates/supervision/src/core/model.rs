//! The core against a model: random trees, policies, start outcomes, exits and requests, in virtual time.
//!
//! The [model](Model) is written down from the documentation of OTP's `supervisor`, as plain recursion that does
//! everything at once; the [driver](Node) runs real cores and answers their outputs at once. Both write a log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Answer, Attempt, Core, Key, Output, Request, State, Token};
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::policy::{
    AutoShutdown, ChildKind, DEFAULT_SHUTDOWN, Flags, Restart, Strategy as Restarts,
};
use crate::spec::ChildPolicy;

/// A supervisor, or with no children given a worker.
#[derive(Clone, Debug)]
struct Spec {
    id: String,
    restart: Restart,
    significant: bool,
    below: Option<(Flags, Vec<Spec>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Error,
    Ignore,
    Ok,
}

#[derive(Clone, Debug)]
enum Event {
    /// A running worker, chosen among all of the tree, ends so.
    Exit(Index, ExitReason),
    /// The next starts of a child.
    Plan(Index, Vec<Outcome>),
    Terminate(Index),
    Restart(Index),
    Delete(Index),
    Wait(u64),
}

/// What the world outside does, the same for both.
#[derive(Clone, Default)]
struct World {
    plans: HashMap<String, VecDeque<Outcome>>,
    log: Vec<String>,
}

impl World {
    fn start(&mut self, id: &str) -> Outcome {
        let outcome = self.plans.get_mut(id).and_then(VecDeque::pop_front).unwrap_or(Outcome::Ok);
        match outcome {
            Outcome::Ok => self.log.push(format!("start {id}")),
            Outcome::Error => self.log.push(format!("start-failed {id}")),
            Outcome::Ignore => self.log.push(format!("start-ignored {id}")),
        }
        outcome
    }

    fn down(&mut self, id: &str, reason: &ExitReason) {
        self.log.push(format!("down {id} {reason}"));
    }
}

// ---- the model

struct Model {
    flags: Flags,
    kids: Vec<Kid>,
    restarts: Vec<Instant>,
}

struct Kid {
    spec: Spec,
    life: Option<Life>,
}

enum Life {
    Worker,
    Supervisor(Model),
}

/// The supervisor has ended by its own rules, all its children being down.
struct GivenUp;

impl Model {
    fn start(flags: Flags, specs: &[Spec], world: &mut World) -> Result<Self, ()> {
        let mut model = Self { flags, kids: Vec::new(), restarts: Vec::new() };
        for spec in specs {
            let mut kid = Kid { spec: spec.clone(), life: None };
            match kid.start(world) {
                Outcome::Error => {
                    model.stop(world);
                    return Err(());
                }
                Outcome::Ignore if spec.restart == Restart::Temporary => {}
                Outcome::Ignore | Outcome::Ok => model.kids.push(kid),
            }
        }
        Ok(model)
    }

    fn stop(&mut self, world: &mut World) {
        for kid in self.kids.iter_mut().rev() {
            kid.stop(world);
        }
    }

    fn give_up(&mut self, world: &mut World) -> Result<(), GivenUp> {
        self.stop(world);
        Err(GivenUp)
    }

    /// The child has ended by itself.
    fn ended(
        &mut self,
        at: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> Result<(), GivenUp> {
        let Spec { restart, significant, .. } = self.kids[at].spec;
        self.kids[at].life = None;
        match restart {
            Restart::Permanent => return self.restart(at, now, world),
            Restart::Transient if reason.is_abnormal() => return self.restart(at, now, world),
            Restart::Transient => {}
            Restart::Temporary => _ = self.kids.remove(at),
        }
        let last = || !self.kids.iter().any(|kid| kid.spec.significant && kid.life.is_some());
        match self.flags.auto_shutdown {
            AutoShutdown::AnySignificant if significant => self.give_up(world),
            AutoShutdown::AllSignificant if significant && last() => self.give_up(world),
            _ => Ok(()),
        }
    }

    fn restart(&mut self, mut at: usize, now: Instant, world: &mut World) -> Result<(), GivenUp> {
        loop {
            self.restarts.push(now);
            let recent = |&&then: &&Instant| now - then <= self.flags.period;
            if self.restarts.iter().filter(recent).count() > self.flags.intensity as usize {
                return self.give_up(world);
            }
            let failing = self.kids[at].spec.id.clone();
            let first = match self.flags.strategy {
                Restarts::OneForOne => {
                    match self.kids[at].start(world) {
                        Outcome::Error => continue,
                        Outcome::Ignore if self.kids[at].spec.restart == Restart::Temporary => {
                            self.kids.remove(at);
                        }
                        Outcome::Ignore | Outcome::Ok => {}
                    }
                    return Ok(());
                }
                Restarts::OneForAll => 0,
                Restarts::RestForOne => at,
            };
            for kid in self.kids[first..].iter_mut().rev() {
                kid.stop(world);
            }
            let mut index = 0;
            self.kids.retain(|kid| {
                index += 1;
                index <= first || kid.spec.id == failing || kid.spec.restart != Restart::Temporary
            });
            let failed = (first..self.kids.len())
                .find(|&index| self.kids[index].start(world) == Outcome::Error);
            match failed {
                None => return Ok(()),
                Some(index) => at = index,
            }
        }
    }

    /// Let the `nth` running worker below end; how many there are, if there are not as many.
    fn exit(
        &mut self,
        nth: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> Result<usize, GivenUp> {
        let mut seen = 0;
        for at in 0..self.kids.len() {
            let ended = match &mut self.kids[at].life {
                None => continue,
                Some(Life::Worker) if seen == nth => {
                    world.down(&self.kids[at].spec.id, reason);
                    reason.clone()
                }
                Some(Life::Worker) => {
                    seen += 1;
                    continue;
                }
                Some(Life::Supervisor(below)) => match below.exit(nth - seen, reason, now, world) {
                    Ok(workers) if workers <= nth - seen => {
                        seen += workers;
                        continue;
                    }
                    Ok(_) => return Ok(nth + 1),
                    Err(GivenUp) => {
                        world.down(&self.kids[at].spec.id, &ExitReason::SHUTDOWN);
                        ExitReason::SHUTDOWN
                    }
                },
            };
            return self.ended(at, &ended, now, world).map(|()| nth + 1);
        }
        Ok(seen)
    }

    fn request(&mut self, request: &Request, world: &mut World) -> &'static str {
        let find = |id: &str| self.kids.iter().position(|kid| kid.spec.id == id);
        match request {
            Request::Terminate(id) => {
                let Some(at) = find(id) else { return "not_found" };
                self.kids[at].stop(world);
                if self.kids[at].spec.restart == Restart::Temporary {
                    self.kids.remove(at);
                }
                "ok"
            }
            Request::Restart(id) => match find(id) {
                None => "not_found",
                Some(at) if self.kids[at].life.is_some() => "running",
                Some(at) => match self.kids[at].start(world) {
                    Outcome::Ok => "ok",
                    Outcome::Ignore => "ignored",
                    Outcome::Error => "failed",
                },
            },
            Request::Delete(id) => match find(id) {
                None => "not_found",
                Some(at) if self.kids[at].life.is_some() => "running",
                Some(at) => {
                    self.kids.remove(at);
                    "ok"
                }
            },
            _ => unreachable!("not asked here"),
        }
    }
}

impl Kid {
    fn start(&mut self, world: &mut World) -> Outcome {
        let Some((flags, specs)) = &self.spec.below else {
            let outcome = world.start(&self.spec.id);
            self.life = (outcome == Outcome::Ok).then_some(Life::Worker);
            return outcome;
        };
        match Model::start(*flags, specs, world) {
            Ok(below) => {
                world.log.push(format!("start {}", self.spec.id));
                self.life = Some(Life::Supervisor(below));
                Outcome::Ok
            }
            Err(()) => Outcome::Error,
        }
    }

    fn stop(&mut self, world: &mut World) {
        match self.life.take() {
            None => return,
            Some(Life::Worker) => {}
            Some(Life::Supervisor(mut below)) => below.stop(world),
        }
        world.down(&self.spec.id, &ExitReason::SHUTDOWN);
    }
}

// ---- the driver of real cores

struct Node {
    core: Core,
    specs: BTreeMap<Key, Spec>,
    lives: BTreeMap<Key, (Attempt, Option<Node>)>,
    answers: Vec<&'static str>,
}

/// What a core came to.
enum End {
    Runs,
    Ended,
    DidNotStart,
}

impl Node {
    fn new(flags: Flags, specs: &[Spec]) -> Self {
        let policies =
            specs.iter().map(|spec| (Arc::from(spec.id.as_str()), policy(spec))).collect();
        let core = Core::new(flags, false, policies, 1).expect("legal specs");
        let specs = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| (Key(index as u64), spec.clone()))
            .collect();
        Self { core, specs, lives: BTreeMap::new(), answers: Vec::new() }
    }

    /// Carry out whatever the core decides.
    fn drain(&mut self, now: Instant, world: &mut World) -> End {
        let mut end = End::Runs;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Start { key, attempt } => self.start(key, attempt, now, world),
                Output::Stop { key, attempt, .. } => {
                    let Some((_, below)) =
                        self.lives.remove(&key).filter(|(current, _)| *current == attempt)
                    else {
                        continue;
                    };
                    if let Some(mut below) = below {
                        below.core.handle_shutdown(now, ExitReason::SHUTDOWN);
                        assert!(matches!(below.drain(now, world), End::Ended));
                    }
                    world.down(&self.specs[&key].id, &ExitReason::SHUTDOWN);
                    self.core.handle_exit(now, key, attempt, ExitReason::SHUTDOWN);
                }
                Output::Reply { answer, .. } => self.answers.push(word(&answer)),
                Output::BeginFailed(_) => end = End::DidNotStart,
                Output::Ended(reason) => {
                    assert_eq!(reason, ExitReason::SHUTDOWN);
                    end = End::Ended;
                }
                Output::Abandon { .. } => panic!("nothing is blocked here"),
                Output::Adopt { .. }
                | Output::Forget { .. }
                | Output::Became { .. }
                | Output::Restarted { .. }
                | Output::Began => {}
            }
        }
        end
    }

    fn start(&mut self, key: Key, attempt: Attempt, now: Instant, world: &mut World) {
        let spec = self.specs[&key].clone();
        let mut fail = |error| self.core.handle_start_failed(now, key, attempt, error);
        let below = match &spec.below {
            None => match world.start(&spec.id) {
                Outcome::Ok => None,
                Outcome::Error => return fail(StartError::failed("planned")),
                Outcome::Ignore => return fail(StartError::Ignore),
            },
            Some((flags, specs)) => {
                let mut below = Node::new(*flags, specs);
                below.core.begin(now);
                if !matches!(below.drain(now, world), End::Runs) {
                    let error = StartSupervisorError::Exited(ExitReason::SHUTDOWN);
                    return fail(StartError::Supervisor(Box::new(error)));
                }
                world.log.push(format!("start {}", spec.id));
                Some(below)
            }
        };
        self.lives.insert(key, (attempt, below));
        self.core.handle_started(now, key, attempt, None);
    }

    fn exit(
        &mut self,
        nth: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> (usize, End) {
        let mut seen = 0;
        for key in self.lives.keys().copied().collect::<Vec<_>>() {
            let Some((attempt, below)) = self.lives.get_mut(&key) else { continue };
            let attempt = *attempt;
            let ended = match below {
                None if seen == nth => {
                    world.down(&self.specs[&key].id, reason);
                    reason.clone()
                }
                None => {
                    seen += 1;
                    continue;
                }
                Some(below) => match below.exit(nth - seen, reason, now, world) {
                    (workers, End::Runs) if workers <= nth - seen => {
                        seen += workers;
                        continue;
                    }
                    (_, End::Runs) => return (nth + 1, End::Runs),
                    _ => {
                        world.down(&self.specs[&key].id, &ExitReason::SHUTDOWN);
                        ExitReason::SHUTDOWN
                    }
                },
            };
            self.lives.remove(&key);
            self.core.handle_exit(now, key, attempt, ended);
            return (nth + 1, self.drain(now, world));
        }
        (seen, End::Runs)
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done | Answer::Started(_) => "ok",
        Answer::Ignored => "ignored",
        Answer::StartFailed(_) => "failed",
        Answer::NotFound => "not_found",
        Answer::Running => "running",
        other => panic!("{other:?}"),
    }
}

fn policy(spec: &Spec) -> ChildPolicy {
    ChildPolicy {
        kind: if spec.below.is_some() { ChildKind::Supervisor } else { ChildKind::Worker },
        restart: spec.restart,
        shutdown: DEFAULT_SHUTDOWN,
        significant: spec.significant,
        backoff: None,
        retries: 0,
        start_timeout: Duration::from_secs(30),
    }
}

// ---- what is tried

/// Ids are given afterwards, and significance only where it is legal.
fn tree() -> impl Strategy<Value = (Flags, Vec<Spec>)> {
    let worker = (restart(), any::<bool>()).prop_map(|(restart, significant)| {
        let id = String::new();
        Spec { id, restart, significant, below: None }
    });
    let child = worker.prop_recursive(2, 12, 4, |child| {
        let below = (flags(), prop::collection::vec(child, 0..4));
        (restart(), any::<bool>(), below).prop_map(|(restart, significant, below)| {
            let id = String::new();
            Spec { id, restart, significant, below: Some(below) }
        })
    });
    (flags(), prop::collection::vec(child, 1..5)).prop_map(|(flags, mut children)| {
        make_legal("", flags, &mut children);
        (flags, children)
    })
}

fn make_legal(prefix: &str, flags: Flags, children: &mut [Spec]) {
    for (index, child) in children.iter_mut().enumerate() {
        child.id = format!("{prefix}{}", char::from(b'a' + index as u8));
        child.significant &=
            flags.auto_shutdown != AutoShutdown::Never && child.restart != Restart::Permanent;
        if let Some((flags, below)) = &mut child.below {
            make_legal(&child.id, *flags, below);
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let reason = prop_oneof![
        2 => Just(ExitReason::Panic("oh".into())),
        1 => Just(ExitReason::Normal),
        1 => Just(ExitReason::SHUTDOWN),
        1 => Just(ExitReason::Killed),
    ];
    let outcome =
        prop_oneof![2 => Just(Outcome::Error), 1 => Just(Outcome::Ignore), 1 => Just(Outcome::Ok)];
    prop_oneof![
        6 => (any::<Index>(), reason).prop_map(|(which, reason)| Event::Exit(which, reason)),
        2 => (any::<Index>(), prop::collection::vec(outcome, 1..4)).prop_map(|(which, plan)| Event::Plan(which, plan)),
        1 => any::<Index>().prop_map(Event::Terminate),
        1 => any::<Index>().prop_map(Event::Restart),
        1 => any::<Index>().prop_map(Event::Delete),
        2 => (1..4_u64).prop_map(Event::Wait),
    ]
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn flags() -> impl Strategy<Value = Flags> {
    let strategy = prop_oneof![
        Just(Restarts::OneForOne),
        Just(Restarts::OneForAll),
        Just(Restarts::RestForOne)
    ];
    let auto = prop_oneof![
        2 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    (strategy, 0..4_u32, 1..6_u64, auto).prop_map(|(strategy, intensity, period, auto_shutdown)| {
        Flags { strategy, intensity, period: Duration::from_secs(period), auto_shutdown }
    })
}

/// All ids of a tree.
fn ids(children: &[Spec]) -> Vec<String> {
    let below =
        |child: &Spec| child.below.as_ref().map(|(_, below)| ids(below)).unwrap_or_default();
    children
        .iter()
        .flat_map(|child| std::iter::once(child.id.clone()).chain(below(child)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_does(
        (flags, specs) in tree(),
        early in prop::collection::vec((any::<Index>(), prop_oneof![3 => Just(Outcome::Error), 1 => Just(Outcome::Ignore)]), 0..2),
        events in prop::collection::vec(event(), 1..25),
    ) {
        play(flags, &specs, &early, &events);
    }
}

#[expect(clippy::disallowed_methods, reason = "a start to count from")]
fn play(flags: Flags, specs: &[Spec], early: &[(Index, Outcome)], events: &[Event]) {
    let mut now = Instant::now();
    let all = ids(specs);
    let top: Vec<Arc<str>> = specs.iter().map(|spec| Arc::from(spec.id.as_str())).collect();
    let mut world = World::default();
    for (which, outcome) in early {
        world.plans.entry(which.get(&all).clone()).or_default().push_back(*outcome);
    }
    let mut other = world.clone();
    let model = Model::start(flags, specs, &mut other);
    let mut node = Node::new(flags, specs);
    node.core.begin(now);
    let end = node.drain(now, &mut world);
    assert_eq!(world.log, other.log);
    assert_eq!(matches!(end, End::Runs), model.is_ok(), "{:#?}", world.log);
    let Ok(mut model) = model else { return };

    for event in events {
        let context = |world: &World, other: &World| {
            format!("{event:?}\ncore  {:?}\nmodel {:?}", world.log, other.log)
        };
        let mut over = (false, false);
        match event {
            Event::Wait(seconds) => now += Duration::from_secs(*seconds),
            Event::Plan(which, plan) => {
                for world in [&mut world, &mut other] {
                    world.plans.insert(which.get(&all).clone(), plan.iter().copied().collect());
                }
            }
            Event::Exit(which, reason) => {
                let (workers, _) = node.exit(usize::MAX / 2, reason, now, &mut world);
                if workers > 0 {
                    let nth = which.index(workers);
                    over.0 = matches!(node.exit(nth, reason, now, &mut world).1, End::Ended);
                    over.1 = model.exit(nth, reason, now, &mut other).is_err();
                }
            }
            Event::Terminate(which) | Event::Restart(which) | Event::Delete(which) => {
                let id = which.get(&top).clone();
                let request = match event {
                    Event::Terminate(_) => Request::Terminate(id),
                    Event::Restart(_) => Request::Restart(id),
                    _ => Request::Delete(id),
                };
                let answer = model.request(&request, &mut other);
                node.core.handle_request(now, Token(0), request);
                node.drain(now, &mut world);
                assert_eq!(node.answers.pop(), Some(answer), "{}", context(&world, &other));
            }
        }
        assert_eq!(world.log, other.log, "{}", context(&world, &other));
        assert_eq!(over.0, over.1, "{}", context(&world, &other));
        if over.0 {
            return;
        }
        let running =
            |(id, state, _): (_, State, _)| matches!(state, State::Running(_)).then_some(id);
        node.core.handle_request(now, Token(0), Request::Which);
        let Some(Output::Reply { answer: Answer::Children(children), .. }) =
            node.core.poll_output()
        else {
            panic!("no answer");
        };
        let here: Vec<Arc<str>> = children.into_iter().filter_map(running).collect();
        let there: Vec<Arc<str>> = model
            .kids
            .iter()
            .filter(|kid| kid.life.is_some())
            .map(|kid| Arc::from(kid.spec.id.as_str()))
            .collect();
        assert_eq!(here, there, "{}", context(&world, &other));
    }
}
