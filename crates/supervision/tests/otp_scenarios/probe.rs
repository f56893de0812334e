//! Child in the scenarios: it starts, ends and stops as planned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;

use crate::format::{OnStop, Outcome};

/// State that the player and the probes share.
#[derive(Clone, Default)]
pub(crate) struct SharedState(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// Outcomes of the next starts of each child; without one, the start is an ordinary one.
    pub(crate) plans: HashMap<String, VecDeque<Outcome>>,
    pub(crate) addrs: HashMap<String, Addr<Probe>>,
    /// Ids of all probes.
    pub(crate) ids: HashSet<String>,
}

impl SharedState {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the state is locked")
    }

    /// Takes the outcome of the next start of this child from its plan.
    fn next(&self, id: &str) -> Outcome {
        let planned = self.state().plans.get_mut(id).and_then(VecDeque::pop_front);
        planned.unwrap_or(Outcome::Ok)
    }

    /// Starts a supervisor according to its plan.
    ///
    /// # Errors
    /// The planned error.
    pub(crate) fn begin(&self, id: &str) -> Result<(), StartError> {
        match self.next(id) {
            Outcome::Ok => Ok(()),
            Outcome::Panic => panic!("boom"),
            Outcome::Ignore => Err(StartError::Ignore),
            Outcome::Error => Err(StartError::failed("boom")),
            other => Err(StartError::failed(format!("a supervisor cannot start with {other:?}"))),
        }
    }

    /// Returns the spec of a child that follows its plan.
    pub(crate) fn spec(&self, id: &str, on_stop: OnStop) -> ChildSpec {
        self.state().ids.insert(id.to_owned());
        let (shared, name) = (self.clone(), id.to_owned());
        ChildSpec::try_new(id, move || {
            let outcome = shared.next(&name);
            let probe = Probe {
                id: name.clone(),
                shared: shared.clone(),
                outcome: outcome.clone(),
                on_stop: on_stop.clone(),
                leaving: false,
            };
            async move {
                match outcome {
                    Outcome::Error => Err(StartError::failed("boom")),
                    Outcome::Ignore => Err(StartError::Ignore),
                    Outcome::Hang(time) => {
                        tokio::time::sleep(time).await;
                        Err(StartError::failed(format!("boom (after {}ms)", time.as_millis())))
                    }
                    Outcome::Ok | Outcome::Panic | Outcome::Info | Outcome::Garbage => Ok(probe),
                }
            }
        })
    }
}

pub(crate) struct Probe {
    id: String,
    shared: SharedState,
    outcome: Outcome,
    on_stop: OnStop,
    leaving: bool,
}

impl Probe {
    fn leave(&mut self, ctx: &mut Context<Self>, reason: ExitReason) {
        self.leaving = true;
        match reason {
            ExitReason::Panic(message) => panic!("{message}"),
            reason => ctx.exit(reason),
        }
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.outcome {
            Outcome::Panic => panic!("boom"),
            // A start function that returns garbage instead of a process: here an actor that has ended.
            Outcome::Garbage => return self.leave(ctx, ExitReason::Normal),
            Outcome::Info => defer_start().ready_with("extra"),
            _ => {}
        }
        self.shared.state().addrs.insert(self.id.clone(), ctx.address());
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if self.leaving {
            return Running::Stop;
        }
        match self.on_stop.clone() {
            OnStop::AtOnce => Running::Stop,
            OnStop::Ignore => Running::Continue,
            OnStop::Exit(reason) => {
                self.leave(ctx, reason);
                Running::Stop
            }
            OnStop::Delay(time) => {
                ctx.run_later(time, |this, ctx| {
                    this.leaving = true;
                    ctx.stop();
                });
                Running::Continue
            }
        }
    }
}

/// Order to end for this reason, after this time.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave(pub(crate) ExitReason, pub(crate) Duration);

impl Handler<Leave> for Probe {
    type Result = ();

    fn handle(&mut self, Leave(reason, after): Leave, ctx: &mut Self::Context) {
        if after.is_zero() {
            self.leave(ctx, reason);
        } else {
            ctx.run_later(after, |this, ctx| this.leave(ctx, reason));
        }
    }
}
