//! OTP supervision for actix actors.

mod arbiter;
mod budget;
mod child_ref;
mod core;
mod current;
mod error;
mod exit;
mod fault;
mod instance;
mod monitor;
mod policy;
mod spawn;
mod spec;
mod supervisor;
mod supervisor_ref;
mod tree;

pub use crate::core::Counts;
pub use arbiter::{ArbiterPool, Placement};
pub use child_ref::ChildRef;
pub use current::{Info, Starting, defer_start, report_depth};
pub use error::*;
pub use exit::{Exit, ExitReason};
pub use fault::Fault;
pub use monitor::{Down, MonitorId, MonitorRef, link, monitor};
pub use policy::{
    AutoShutdown, Backoff, ChildKind, Flags, Restart, Shutdown, Strategy, UnknownWord,
};
pub use spawn::spawn;
pub use spec::{ChildPolicy, ChildSpec, SupervisorSpec};
pub use supervisor::Supervisor;
pub use supervisor_ref::{ChildInfo, Started, SupervisorRef};
pub use tree::{ChildId, Event, InstanceId, Lifecycle, Path, Status, TreeSnapshot};
