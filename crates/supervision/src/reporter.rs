//! Reporter of an instance: says to the tree, to monitors and to the supervisor that it has started and ended.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::child_ref::Vacate;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::monitor::ControlBlock;
use crate::policy::{Attempt, Key, StartInfo};
use crate::tree::{ActorRecord, Lifecycle};

/// Report from an instance to its supervisor: the start report, or the exit.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Report {
    pub(crate) key: Key,
    pub(crate) attempt: Attempt,
    pub(crate) kind: ReportKind,
}

/// Kind of a report.
pub(crate) enum ReportKind {
    Started(Option<StartInfo>),
    StartFailed(StartError),
    Ended(ExitReason),
}

/// Reporter of one instance: of its start, and of its end exactly once.
pub(crate) struct InstanceReporter {
    pub(crate) record: Arc<ActorRecord>,
    pub(crate) control: Arc<ControlBlock>,
    pub(crate) slot: Arc<dyn Vacate>,
    pub(crate) target: ReportTarget,
    pub(crate) started: bool,
    pub(crate) done: bool,
    /// Whether it ends with all other actors.
    pub(crate) last: bool,
}

/// Receiver of an instance's reports.
pub(crate) enum ReportTarget {
    Supervisor {
        to: Arc<Recipient<Report>>,
        key: Key,
        attempt: Attempt,
    },
    /// The caller that started it by hand waits for the start, and uses a monitor for the end.
    Starter(Option<oneshot::Sender<Result<(), StartError>>>),
}

impl ReportTarget {
    /// Returns whether a report can still have an effect.
    fn is_heard(&self) -> bool {
        let heard = match self {
            ReportTarget::Supervisor { to, .. } => to.connected(),
            ReportTarget::Starter(_) => true,
        };
        // The system's own arbiter takes no more work once the system goes down.
        heard && System::try_current().is_none_or(|system| system.arbiter().spawn_fn(|| {}))
    }

    fn report(&mut self, kind: ReportKind) {
        match self {
            // At most two reports from each instance.
            ReportTarget::Supervisor { to, key, attempt } => {
                to.do_send(Report { key: *key, attempt: *attempt, kind })
            }
            ReportTarget::Starter(starter) => {
                let outcome = match kind {
                    ReportKind::Started(_) => Ok(()),
                    ReportKind::StartFailed(error) => Err(error),
                    ReportKind::Ended(_) => return,
                };
                if let Some(starter) = starter.take() {
                    _ = starter.send(outcome);
                }
            }
        }
    }
}

impl InstanceReporter {
    pub(crate) fn begin(&mut self) {
        self.record.starting(self.control.instance);
    }

    pub(crate) fn started(&mut self, info: Option<StartInfo>) {
        self.started = true;
        self.record.report(self.control.instance, Lifecycle::Started);
        self.target.report(ReportKind::Started(info));
    }

    fn report(&self, what: Lifecycle) {
        if self.last {
            self.record.report_at_shutdown(self.control.instance, what);
        } else {
            self.record.report(self.control.instance, what);
        }
    }

    pub(crate) fn start_failed(&mut self, error: StartError) {
        if !std::mem::replace(&mut self.done, true) {
            self.slot.vacate(self.control.instance);
            self.report(Lifecycle::StartFailed(error.clone()));
            self.control.end(&ExitReason::Error(error.to_string()));
            self.target.report(ReportKind::StartFailed(error));
        }
    }

    pub(crate) fn ended(&mut self, reason: ExitReason) {
        if !std::mem::replace(&mut self.done, true) {
            self.slot.vacate(self.control.instance);
            self.report(Lifecycle::Down(reason.clone()));
            self.control.end(&reason);
            self.target.report(ReportKind::Ended(reason));
        }
    }
}

impl Drop for InstanceReporter {
    /// Reports the end if the task was dropped, which means that its arbiter has ended.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The whole system ends, or the supervisor has ended before: nothing can be done about it.
        self.last = !self.target.is_heard();
        if self.started {
            self.ended(ExitReason::Killed)
        } else {
            self.start_failed(StartError::ArbiterGone)
        }
    }
}
