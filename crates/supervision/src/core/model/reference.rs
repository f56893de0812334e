//! Reference model of OTP's `supervisor`, in the simplest form of its documentation.

use std::time::Instant;

use super::{Outcome, Spec, World};
use crate::core::Request;
use crate::exit::ExitReason;
use crate::policy::{AutoShutdown, Flags, Restart, Strategy as Restarts};

pub(super) struct Model {
    flags: Flags,
    pub(super) kids: Vec<Kid>,
    restarts: Vec<Instant>,
}

pub(super) struct Kid {
    pub(super) spec: Spec,
    pub(super) life: Option<Life>,
}

pub(super) enum Life {
    Worker,
    Supervisor(Model),
}

/// Error: the supervisor has ended by its own rules, and all its children are down.
pub(super) struct GivenUp;

impl Model {
    pub(super) fn start(flags: Flags, specs: &[Spec], world: &mut World) -> Result<Self, ()> {
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

    /// Handles the end of a child that ended by itself.
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

    /// Ends the `nth` running worker below; returns the number of running workers, if there are not as many.
    pub(super) fn exit(
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

    pub(super) fn request(&mut self, request: &Request, world: &mut World) -> &'static str {
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
