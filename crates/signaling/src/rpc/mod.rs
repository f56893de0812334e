//! RPC: functions of the server that clients call, and functions of clients that the server calls.
//!
//! A hook is an asynchronous function with typed arguments, registered under the name of its plugin. Clients call it by
//! JSON, over their WebSocket or over the data channel that is labelled `events`:
//!
//! ```text
//! -> {"type":"call_hook","id":7,"plugin":"chess","fn":"move","args":["e2","e4"]}
//! <- {"type":"hook_reply","id":7,"plugin":"chess","fn":"move","data":"ok"}
//! ```
//!
//! ```
//! use callboard_signaling::Rejection;
//! use callboard_signaling::rpc::{HookContext, Hooks};
//!
//! async fn play((from, to): (String, String), context: HookContext) -> Result<String, Rejection> {
//!     if from == to {
//!         return Err(Rejection::new("a move goes somewhere"));
//!     }
//!     Ok(format!("{} goes from {from} to {to}", context.peer_id))
//! }
//!
//! let hooks = Hooks::builder().plugin("chess", |chess| chess.hook("move", play)).build()?;
//! # Ok::<_, callboard_signaling::rpc::HookNameError>(())
//! ```
//!
//! Hooks run on threads of their own, beside the actor of their peer, several at once, each up to its deadline; when a
//! peer ends, its hooks are dropped. A hook that panics is an `internal` error for its caller, and has no other effect.
//! A hook must not block its thread; use [`actix_web::web::block`] for blocking work.

mod arguments;
mod calls;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use callboard_room_supervisor::{PeerId, Rejection, RoomHandle};
use callboard_supervision::ArbiterPool;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use calls::{Answer, CallRefused, CallTable, NoOutcome};
pub(crate) use wire::{Frame, Unread};

use self::arguments::{InvalidArguments, arguments};
use crate::peer_ref::PeerRef;

/// The functions that clients may call. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hooks {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    plugins: HashMap<String, HashMap<String, Hook>>,
    limits: HookLimits,
    threads: OnceLock<ArbiterPool>,
}

/// Limits of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookLimits {
    /// Number of calls of one peer that run at once; one more is answered with `overloaded`. Default: 16.
    pub concurrency: usize,
    /// Deadline of hooks without one of their own; after it the caller gets `timeout`. Default: 10 s.
    pub deadline: Duration,
    /// Number of arguments of a call; more are `invalid_args`. Default: 32.
    pub arguments: usize,
    /// Size of a call in bytes of JSON, with its envelope; a larger one is `too_large`, and so is a larger reply to a
    /// call by the server. Default: 64 KiB.
    pub call: usize,
    /// Size of a reply in bytes of JSON; a larger one is `too_large`. Default: 64 KiB.
    pub reply: usize,
    /// Number of calls by the server that may wait for one client. Default: 64.
    pub calls_to_client: usize,
    /// Number of threads that hooks run on. Default: 2.
    pub threads: usize,
}

impl Default for HookLimits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            deadline: Duration::from_secs(10),
            arguments: 32,
            call: 64 * 1024,
            reply: 64 * 1024,
            calls_to_client: 64,
            threads: 2,
        }
    }
}

impl HookLimits {
    /// The longest possible deadline.
    pub const LONGEST_DEADLINE: Duration = Duration::from_secs(60);
}

/// Caller of a hook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookContext {
    /// Id of the peer.
    pub peer_id: PeerId,
    /// Room of the peer.
    pub room: RoomHandle,
    /// Client of the peer.
    pub client: PeerRef,
}

/// Error: a name that no hook can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookNameError {
    /// The name is empty, longer than 64 bytes, begins with `_`, or holds other than letters, digits, `_`, `-`, `.` and
    /// `/`.
    #[error("{0:?} is no name for a hook or plugin")]
    NotAName(String),
    /// The name is reserved for the server: `before_…`, `after_…` and `on_…`.
    #[error("{0:?} is reserved")]
    Reserved(String),
    /// The name is already taken.
    #[error("{0:?} is there twice")]
    Twice(String),
}

type Run = dyn Fn(Value, HookContext) -> LocalBoxFuture<'static, Result<Box<RawValue>, Failure>>
    + Send
    + Sync;

#[derive(Clone)]
struct Hook {
    run: Arc<Run>,
    deadline: Option<Duration>,
}

/// Reason why a call has no reply. The client gets its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("unknown_plugin")]
    UnknownPlugin,
    #[error("unknown_function")]
    UnknownFunction,
    #[error("reserved")]
    Reserved,
    #[error("invalid_args")]
    InvalidArgs(InvalidArguments),
    #[error("timeout")]
    Timeout,
    #[error("overloaded")]
    Overloaded,
    #[error("too_large")]
    TooLarge,
    #[error("internal")]
    Internal,
    #[error("malformed")]
    Malformed,
    #[error("server_restarted")]
    ServerRestarted,
    #[error("{}", .0.code)]
    Rejected(Rejection),
}

impl Hooks {
    /// Creates a builder.
    pub fn builder() -> HooksBuilder {
        HooksBuilder { plugins: HashMap::new(), limits: HookLimits::default(), bad: None }
    }

    /// Returns the limits of calls.
    pub fn limits(&self) -> &HookLimits {
        &self.inner.limits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.plugins.is_empty()
    }

    fn find(&self, plugin: &str, function: &str) -> Result<Hook, Failure> {
        if is_reserved(function) {
            return Err(Failure::Reserved);
        }
        let plugin = self.inner.plugins.get(plugin).ok_or(Failure::UnknownPlugin)?;
        plugin.get(function).cloned().ok_or(Failure::UnknownFunction)
    }

    /// Returns the threads, which are started when the first hook is called: before that there may be no system to run
    /// them.
    fn threads(&self) -> &ArbiterPool {
        self.inner.threads.get_or_init(|| ArbiterPool::new(self.inner.limits.threads))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hooks = self
            .inner
            .plugins
            .iter()
            .flat_map(|(plugin, hooks)| hooks.keys().map(move |hook| (plugin, hook)));
        f.debug_list().entries(hooks).finish()
    }
}

/// Builder of [`Hooks`].
pub struct HooksBuilder {
    plugins: HashMap<String, HashMap<String, Hook>>,
    limits: HookLimits,
    bad: Option<HookNameError>,
}

impl HooksBuilder {
    /// Adds a plugin with this name, which `register` fills.
    pub fn plugin(mut self, name: &str, register: impl FnOnce(Plugin) -> Plugin) -> Self {
        let Plugin { hooks, bad } =
            register(Plugin { hooks: HashMap::new(), bad: check(name).err() });
        self.bad = self.bad.or(bad);
        if self.plugins.insert(name.to_owned(), hooks).is_some() {
            self.bad.get_or_insert(HookNameError::Twice(name.to_owned()));
        }
        self
    }

    /// Sets the limits of calls.
    pub fn limits(self, limits: HookLimits) -> Self {
        Self { limits, ..self }
    }

    /// Creates the hooks.
    ///
    /// # Errors
    /// [`HookNameError`], the first one.
    pub fn build(self) -> Result<Hooks, HookNameError> {
        match self.bad {
            Some(bad) => Err(bad),
            None => {
                let (plugins, limits) = (self.plugins, self.limits);
                Ok(Hooks { inner: Arc::new(Inner { plugins, limits, threads: OnceLock::new() }) })
            }
        }
    }
}

/// Builder of a plugin.
pub struct Plugin {
    hooks: HashMap<String, Hook>,
    bad: Option<HookNameError>,
}

impl Plugin {
    /// Adds a hook with this name.
    ///
    /// Its arguments are read from the list in the call: a tuple takes one per element, `()` takes none, and a type
    /// that is neither list nor tuple takes the only one. A whole number may be written with a point (`10.0`).
    /// Arguments that cannot be read are answered with `invalid_args`, the index of the argument, and what was
    /// expected.
    pub fn hook<A, R, E, F, Running>(self, name: &str, hook: F) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Rejection>,
        F: Fn(A, HookContext) -> Running + Send + Sync + 'static,
        Running: Future<Output = Result<R, E>> + 'static,
    {
        self.register(name, None, hook)
    }

    /// Adds a hook with a deadline of its own, of 60 s at most.
    pub fn hook_within<A, R, E, F, Running>(self, name: &str, deadline: Duration, hook: F) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Rejection>,
        F: Fn(A, HookContext) -> Running + Send + Sync + 'static,
        Running: Future<Output = Result<R, E>> + 'static,
    {
        self.register(name, Some(deadline), hook)
    }

    fn register<A, R, E, F, Running>(
        mut self,
        name: &str,
        deadline: Option<Duration>,
        hook: F,
    ) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Rejection>,
        F: Fn(A, HookContext) -> Running + Send + Sync + 'static,
        Running: Future<Output = Result<R, E>> + 'static,
    {
        let (hook_name, unwritable) = (name.to_owned(), Arc::new(Once::new()));
        let run = move |args: Value, context: HookContext| {
            let running = arguments::<A>(&args).map(|args| hook(args, context));
            let (name, unwritable) = (hook_name.clone(), Arc::clone(&unwritable));
            async move {
                let running = running.map_err(Failure::InvalidArgs)?;
                let reply = running.await.map_err(|error| Failure::Rejected(error.into()))?;
                serde_json::value::to_raw_value(&reply).map_err(|error| {
                    // Clients call it as often as they like.
                    unwritable.call_once(|| {
                        log::error!("hook {name:?}: its reply cannot be written as JSON: {error}");
                    });
                    Failure::Internal
                })
            }
            .boxed_local()
        };
        let reserved = is_reserved(name).then(|| HookNameError::Reserved(name.to_owned()));
        self.bad = self.bad.or(check(name).err()).or(reserved);
        if self.hooks.insert(name.to_owned(), Hook { run: Arc::new(run), deadline }).is_some() {
            self.bad.get_or_insert(HookNameError::Twice(name.to_owned()));
        }
        self
    }
}

fn check(name: &str) -> Result<(), HookNameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_name =
        (1..=64).contains(&name.len()) && !name.starts_with('_') && name.chars().all(allowed);
    if is_name { Ok(()) } else { Err(HookNameError::NotAName(name.to_owned())) }
}

fn is_reserved(function: &str) -> bool {
    ["_", "before_", "after_", "on_"].iter().any(|prefix| function.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_when_hooks_are_registered() {
        let build = |plugin: &str, hook: &str| {
            let noop = |(): (), _: HookContext| async { Ok::<_, Rejection>(()) };
            Hooks::builder().plugin(plugin, |plugin| plugin.hook(hook, noop)).build()
        };
        assert!(build("a", "b").is_ok());
        for name in ["", "_x", "a b", "ä", &"x".repeat(65)] {
            assert!(matches!(build("a", name), Err(HookNameError::NotAName(_))), "{name}");
            assert!(matches!(build(name, "b"), Err(HookNameError::NotAName(_))), "{name}");
        }
        assert!(matches!(build("a", "after_join"), Err(HookNameError::Reserved(_))));
        let hooks = build("a", "b").unwrap();
        assert_eq!(hooks.find("x", "b").err(), Some(Failure::UnknownPlugin));
        assert_eq!(hooks.find("a", "x").err(), Some(Failure::UnknownFunction));
        assert_eq!(hooks.find("x", "_x").err(), Some(Failure::Reserved));
        assert!(hooks.find("a", "b").is_ok());
    }
}
