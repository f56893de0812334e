//! Reference model of OTP's `supervisor`, in the simplest form of its documentation.

use std::time::Instant;

use super::{Outcome, Spec, World};
use crate::core::Request;
use crate::exit::ExitReason;
use crate::policy::{AutoShutdown, Flags, Restart, Strategy as Restarts};

pub(super) struct Model {
    flags: Flags,
    pub(super) children: Vec<Child>,
    restarts: Vec<Instant>,
}

pub(super) struct Child {
    pub(super) spec: Spec,
    pub(super) instance: Option<Instance>,
}

pub(super) enum Instance {
    Worker,
    Supervisor(Model),
}

/// Error: the supervisor has ended by its own rules, and all its children are down.
pub(super) struct GivenUp;

impl Model {
    pub(super) fn start(flags: Flags, specs: &[Spec], world: &mut World) -> Result<Self, ()> {
        let mut model = Self { flags, children: Vec::new(), restarts: Vec::new() };
        for spec in specs {
            let mut child = Child { spec: spec.clone(), instance: None };
            match child.start(world) {
                Outcome::Error => {
                    model.stop(world);
                    return Err(());
                }
                Outcome::Ignore if spec.restart == Restart::Temporary => {}
                Outcome::Ignore | Outcome::Ok => model.children.push(child),
            }
        }
        Ok(model)
    }

    fn stop(&mut self, world: &mut World) {
        for child in self.children.iter_mut().rev() {
            child.stop(world);
        }
    }

    fn give_up(&mut self, world: &mut World) -> Result<(), GivenUp> {
        self.stop(world);
        Err(GivenUp)
    }

    /// Handles the end of a child that ended by itself.
    fn ended(
        &mut self,
        at: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> Result<(), GivenUp> {
        let Spec { restart, significant, .. } = self.children[at].spec;
        self.children[at].instance = None;
        match restart {
            Restart::Permanent => return self.restart(at, now, world),
            Restart::Transient if reason.is_abnormal() => return self.restart(at, now, world),
            Restart::Transient => {}
            Restart::Temporary => _ = self.children.remove(at),
        }
        let last = || {
            !self.children.iter().any(|child| child.spec.significant && child.instance.is_some())
        };
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
            let failing = self.children[at].spec.id.clone();
            let first = match self.flags.strategy {
                Restarts::OneForOne => {
                    match self.children[at].start(world) {
                        Outcome::Error => continue,
                        Outcome::Ignore if self.children[at].spec.restart == Restart::Temporary => {
                            self.children.remove(at);
                        }
                        Outcome::Ignore | Outcome::Ok => {}
                    }
                    return Ok(());
                }
                Restarts::OneForAll => 0,
                Restarts::RestForOne => at,
            };
            for child in self.children[first..].iter_mut().rev() {
                child.stop(world);
            }
            let mut index = 0;
            self.children.retain(|child| {
                index += 1;
                index <= first
                    || child.spec.id == failing
                    || child.spec.restart != Restart::Temporary
            });
            let failed = (first..self.children.len())
                .find(|&index| self.children[index].start(world) == Outcome::Error);
            match failed {
                None => return Ok(()),
                Some(index) => at = index,
            }
        }
    }

    /// Ends the `nth` running worker below; returns the number of running workers, if there are not as many.
    pub(super) fn exit(
        &mut self,
        nth: usize,
        reason: &ExitReason,
        now: Instant,
        world: &mut World,
    ) -> Result<usize, GivenUp> {
        let mut seen = 0;
        for at in 0..self.children.len() {
            let ended = match &mut self.children[at].instance {
                None => continue,
                Some(Instance::Worker) if seen == nth => {
                    world.down(&self.children[at].spec.id, reason);
                    reason.clone()
                }
                Some(Instance::Worker) => {
                    seen += 1;
                    continue;
                }
                Some(Instance::Supervisor(below)) => {
                    match below.exit(nth - seen, reason, now, world) {
                        Ok(workers) if workers <= nth - seen => {
                            seen += workers;
                            continue;
                        }
                        Ok(_) => return Ok(nth + 1),
                        Err(GivenUp) => {
                            world.down(&self.children[at].spec.id, &ExitReason::SHUTDOWN);
                            ExitReason::SHUTDOWN
                        }
                    }
                }
            };
            return self.ended(at, &ended, now, world).map(|()| nth + 1);
        }
        Ok(seen)
    }

    pub(super) fn request(&mut self, request: &Request, world: &mut World) -> &'static str {
        let find = |id: &str| self.children.iter().position(|child| child.spec.id == id);
        match request {
            Request::Terminate(id) => {
                let Some(at) = find(id) else { return "not_found" };
                self.children[at].stop(world);
                if self.children[at].spec.restart == Restart::Temporary {
                    self.children.remove(at);
                }
                "ok"
            }
            Request::Restart(id) => match find(id) {
                None => "not_found",
                Some(at) if self.children[at].instance.is_some() => "running",
                Some(at) => match self.children[at].start(world) {
                    Outcome::Ok => "ok",
                    Outcome::Ignore => "ignored",
                    Outcome::Error => "failed",
                },
            },
            Request::Delete(id) => match find(id) {
                None => "not_found",
                Some(at) if self.children[at].instance.is_some() => "running",
                Some(at) => {
                    self.children.remove(at);
                    "ok"
                }
            },
            _ => unreachable!("not asked here"),
        }
    }
}

impl Child {
    fn start(&mut self, world: &mut World) -> Outcome {
        let Some((flags, specs)) = &self.spec.below else {
            let outcome = world.start(&self.spec.id);
            self.instance = (outcome == Outcome::Ok).then_some(Instance::Worker);
            return outcome;
        };
        match Model::start(*flags, specs, world) {
            Ok(below) => {
                world.log.push(format!("start {}", self.spec.id));
                self.instance = Some(Instance::Supervisor(below));
                Outcome::Ok
            }
            Err(()) => Outcome::Error,
        }
    }

    fn stop(&mut self, world: &mut World) {
        match self.instance.take() {
            None => return,
            Some(Instance::Worker) => {}
            Some(Instance::Supervisor(mut below)) => below.stop(world),
        }
        world.down(&self.spec.id, &ExitReason::SHUTDOWN);
    }
}
