//! Driver of a tree of real cores, without actors: it carries out every decision at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Outcome, Spec, World};
use crate::core::{Answer, Core, Output};
use crate::error::{StartError, StartSupervisorError};
use crate::exit::ExitReason;
use crate::policy::{Attempt, ChildKind, ChildPolicy, DEFAULT_SHUTDOWN, Flags, Key};

pub(super) struct Node {
    pub(super) core: Core,
    specs: BTreeMap<Key, Spec>,
    instances: BTreeMap<Key, (Attempt, Option<Node>)>,
    pub(super) answers: Vec<&'static str>,
}

/// Result of driving a core.
pub(super) enum End {
    Runs,
    Ended,
    DidNotStart,
}

impl Node {
    pub(super) fn new(flags: Flags, specs: &[Spec]) -> Self {
        let policies =
            specs.iter().map(|spec| (Arc::from(spec.id.as_str()), policy(spec))).collect();
        let core = Core::new(flags, false, policies, 1).expect("legal specs");
        let specs = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| (Key(index as u64), spec.clone()))
            .collect();
        Self { core, specs, instances: BTreeMap::new(), answers: Vec::new() }
    }

    /// Carries out all outputs of the core.
    pub(super) fn drain(&mut self, now: Instant, world: &mut World) -> End {
        let mut end = End::Runs;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Start { key, attempt } => self.start(key, attempt, now, world),
                Output::Stop { key, attempt, .. } => {
                    let Some((_, below)) =
                        self.instances.remove(&key).filter(|(current, _)| *current == attempt)
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
                    let gave_up = ExitReason::ReachedMaxRestartIntensity;
                    assert!(reason == ExitReason::SHUTDOWN || reason == gave_up, "{reason}");
                    end = End::Ended;
                }
                Output::Abandon { .. } => panic!("nothing is blocked here"),
                Output::Adopt { .. }
                | Output::Forget { .. }
                | Output::Became { .. }
                | Output::Restarted { .. }
                | Output::GaveUp { .. }
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
        self.instances.insert(key, (attempt, below));
        self.core.handle_started(now, key, attempt, None);
    }

    pub(super) fn exit(
        &mut self,
        nth: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> (usize, End) {
        let mut seen = 0;
        for key in self.instances.keys().copied().collect::<Vec<_>>() {
            let Some((attempt, below)) = self.instances.get_mut(&key) else { continue };
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
            self.instances.remove(&key);
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
