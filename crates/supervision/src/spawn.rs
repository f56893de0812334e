//! Actors outside any tree that can still be monitored and linked.

use actix::prelude::*;

use crate::child_ref::Slot;
use crate::instance::{self, InstanceParams};
use crate::monitor::{ControlBlock, Name};
use crate::path::ActorPath;
use crate::policy::{ChildKind, DEFAULT_SHUTDOWN, START_TIMEOUT};
use crate::reporter::{InstanceReporter, ReportTarget};
use crate::tree::{ActorRecord, Tree};

/// Starts an actor without a supervisor on the current thread. The actor can be [monitored](crate::monitor) and
/// [linked](crate::link), and can [exit](crate::Exit) with a reason.
///
/// As in plain actix it runs until it stops, or until its last address is dropped.
pub fn spawn<A: Actor<Context = Context<A>>>(actor: A) -> Addr<A> {
    let type_name = std::any::type_name::<A>();
    let control = ControlBlock::new(Name::Type(type_name));
    let slot = Slot::new();
    let record = ActorRecord::new(
        ActorPath::root(type_name.into()),
        Tree::of_one(),
        ChildKind::Worker,
        type_name,
    );
    let reporter = InstanceReporter {
        record,
        control,
        slot: slot.clone(),
        target: ReportTarget::Starter(None),
        started: false,
        done: false,
        last: false,
    };
    let start_timeout = START_TIMEOUT;
    let params = InstanceParams { reporter, shutdown: DEFAULT_SHUTDOWN, start_timeout };
    instance::start_unsupervised(actor, slot, params)
}
