//! Test of the core against a model: random trees, policies, start outcomes, exits and requests, in virtual time.
//!
//! The [reference] follows the documentation of OTP's `supervisor`, as plain recursion that does everything at once;
//! the [driver] runs real cores and answers their outputs at once. Both write a log.

mod driver;
mod reference;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Answer, Output, Request, State, Token};
use crate::exit::ExitReason;
use crate::policy::{AutoShutdown, Flags, Restart, Strategy as Restarts};

use driver::{End, Node};
use reference::Model;

/// Specification of a supervisor, or of a worker if it has no `below`.
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

/// Environment of the tree, the same for core and model: planned start outcomes, and the log.
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

#[derive(Clone, Debug)]
enum Event {
    /// A running worker, chosen among all of the tree, ends with this reason.
    Exit(Index, ExitReason),
    /// The next starts of a child have these outcomes.
    Plan(Index, Vec<Outcome>),
    Terminate(Index),
    Restart(Index),
    Delete(Index),
    Wait(u64),
}

/// Generates a tree. Ids are given afterwards, and significance only where it is legal.
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

/// Returns all ids of a tree.
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
            .children
            .iter()
            .filter(|child| child.instance.is_some())
            .map(|child| Arc::from(child.spec.id.as_str()))
            .collect();
        assert_eq!(here, there, "{}", context(&world, &other));
    }
}
