//! Actors outside any tree that can still be monitored and linked.

use actix::prelude::*;

use crate::child_ref::Slot;
use crate::instance::{self, Orders, Reporter, Ticket};
use crate::monitor::{Name, Peg};
use crate::policy::{ChildKind, DEFAULT_SHUTDOWN, START_TIMEOUT};
use crate::tree::{Path, Station, Tree};

/// Starts an actor without a supervisor on the current thread. The actor can be [monitored](crate::monitor) and
/// [linked](crate::link), and can [exit](crate::Exit) with a reason.
///
/// As in plain actix it runs until it stops, or until its last address is dropped.
pub fn spawn<A: Actor<Context = Context<A>>>(actor: A) -> Addr<A> {
    let type_name = std::any::type_name::<A>();
    let peg = Peg::new(Name::Type(type_name));
    let slot = Slot::new();
    let station =
        Station::new(Path::root(type_name.into()), Tree::of_one(), ChildKind::Worker, type_name);
    let ticket = Ticket {
        station,
        peg,
        slot: slot.clone(),
        reporter: Reporter::Starter(None),
        started: false,
        done: false,
        last: false,
    };
    let start_timeout = START_TIMEOUT;
    let orders = Orders { ticket, shutdown: DEFAULT_SHUTDOWN, start_timeout };
    instance::live_unowned(actor, slot, orders)
}
