//! OTP supervision for actix actors.
//!
//! A [supervisor](SupervisorSpec) starts its children in order, restarts those that fail as its
//! [`Strategy`] says, gives up when they fail too often, and stops them in reverse order. Children are plain actix
//! actors, or supervisors again. The words and their meaning are those of Erlang/OTP; where this crate adds
//! something, its documentation says "ours".
//!
//! ```
//! use actix::prelude::*;
//! use callboard_supervision::*;
//!
//! struct Greeter;
//!
//! impl Actor for Greeter {
//!     type Context = Context<Self>;
//! }
//!
//! #[derive(Message)]
//! #[rtype(result = "String")]
//! struct Greet(&'static str);
//!
//! impl Handler<Greet> for Greeter {
//!     type Result = String;
//!     fn handle(&mut self, Greet(name): Greet, _: &mut Self::Context) -> String {
//!         assert!(!name.is_empty(), "nobody to greet");
//!         format!("hello, {name}")
//!     }
//! }
//!
//! # #[actix::main]
//! # async fn main() {
//! let root = SupervisorSpec::new(Flags::one_for_one())
//!     .child(ChildSpec::new("greeter", || Greeter))
//!     .start()
//!     .await
//!     .unwrap();
//! let greeter = root.child::<Greeter>("greeter").unwrap();
//! let mut events = root.events();
//! assert_eq!(greeter.send(Greet("Ada")).await.unwrap(), "hello, Ada");
//!
//! // A panic ends the actor, and only it; the call in flight fails instead of hanging …
//! assert_eq!(greeter.send(Greet("")).await, Err(CallError::Ended));
//! assert_eq!(events.recv().await.unwrap().what, Lifecycle::Down(ExitReason::Panic("nobody to greet".into())));
//!
//! // … and the same name leads to a new one.
//! assert_eq!(events.recv().await.unwrap().what, Lifecycle::Started);
//! assert_eq!(greeter.send(Greet("Bob")).await.unwrap(), "hello, Bob");
//!
//! println!("{}", root.snapshot());
//! root.stop().await;
//! assert!(!greeter.is_running());
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! * A panic in any callback of a child (`started`, a handler, a spawned future, a stream, `stopping`, `stopped`) ends
//!   that child and no other actor. Needs `panic = "unwind"`, the default.
//! * No child outlives its supervisor, even one that panics or is killed.
//! * The end of a child is noticed for every cause, the end of its thread included.
//! * A child that blocks its thread cannot be stopped in Rust: a watchdog names the actor after a second
//!   ([`Lifecycle::Blocked`]), its supervisor goes on without it when it should stop ([`SupervisorRef::abandoned`]),
//!   and an [`ArbiterPool`] replaces the thread and places no more children there.
//! * A restart is a new actor with a new mailbox; nothing is replayed. [`ChildRef`] leads to the current one, also
//!   after its supervisor was restarted; [`SupervisorRef::find`] looks it up by its path.
//! * A supervisor whose children fail too often logs an error, stops them, and ends with
//!   [`ExitReason::ReachedMaxRestartIntensity`].
//!
//! # How a child is stopped
//!
//! A child is asked to stop as any actix actor is: `stopping` runs, which may return
//! [`Running::Continue`](actix::Running) to finish some work and call `ctx.stop()` later; then `stopped`. If that takes
//! longer than the child's [`Shutdown`] allows, the actor is dropped with no further callback. An actor is not asked
//! while it is in `ctx.wait`, so a future that it waits for there needs a time-out of its own.

mod arbiter;
mod catch_panic;
mod child_ref;
mod core;
mod current_actor;
mod driver;
mod error;
mod exit;
mod fault;
mod instance;
mod instance_task;
mod lock;
mod log_subject;
mod main_error;
mod monitor;
mod node;
mod panic_hook;
mod path;
mod policy;
mod reporter;
mod spawn;
mod spec;
mod start;
mod supervisor;
mod supervisor_ref;
mod tree;
mod watchdog;

pub use crate::core::ChildCounts;
pub use arbiter::{ArbiterPool, Placement};
pub use catch_panic::{catch_panic, catch_panics};
pub use child_ref::ChildRef;
pub use current_actor::{
    Exit, StartReport, asked_to_stop, defer_start, has_panicked, log_subject, report_depth,
};
pub use driver::{Core, Drive, Driver};
pub use error::*;
pub use exit::ExitReason;
pub use fault::Fault;
pub use log_subject::{LogSubject, without_log_subject};
pub use main_error::MainError;
pub use monitor::{Down, MonitorId, MonitorRef, link, monitor};
pub use panic_hook::{PanicReports, install_panic_hook};
pub use path::ActorPath;
pub use policy::{
    AutoShutdown, Backoff, ChildId, ChildKind, ChildPolicy, Flags, Restart, Shutdown, StartInfo,
    Strategy,
};
pub use spawn::spawn;
pub use spec::{ChildSpec, SupervisorSpec};
pub use supervisor_ref::{ChildInfo, StartedChild, SupervisorRef};
pub use tree::{Event, InstanceId, Lifecycle, Status, TreeSnapshot};
