//! The tree as it is shown to clients.

use std::borrow::Cow;

use callboard_supervision::{ChildKind, ExitReason, TreeSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An actor and those that are shown below it, at one moment: `GET /tree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tree {
    /// Names from the root to the actor. It stays the same if the actor is shown elsewhere, and faults are injected by
    /// it.
    pub path: String,
    /// Name among its siblings.
    pub id: String,
    /// `worker` or `supervisor`.
    pub kind: Cow<'static, str>,
    /// Rust type of the actor.
    #[serde(rename = "type")]
    pub type_name: Cow<'static, str>,
    /// `stopped`, `starting`, `running`, `stopping` or `restarting`.
    pub status: Cow<'static, str>,
    /// Number of restarts by its supervisor.
    pub restarts: u64,
    /// Time since its start, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// Exit of its last instance.
    pub last_exit: Option<LastExit>,
    /// Thread that it runs on.
    pub thread: Option<String>,
    /// Number of messages in its mailbox, if it reports that.
    pub depth: usize,
    /// Further details.
    pub details: Map<String, Value>,
    /// Actors that are shown below it.
    pub children: Vec<Tree>,
}

/// Reason why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastExit {
    /// `normal`, `shutdown`, `error`, `panic`, `killed`, `noproc` or `reached_max_restart_intensity`.
    pub kind: Cow<'static, str>,
    /// Text of the exit: of a panic its message. Empty if there is none.
    pub text: String,
}

impl LastExit {
    pub(crate) fn of(reason: &ExitReason) -> Self {
        let text = match reason {
            ExitReason::Shutdown(Some(text))
            | ExitReason::Error(text)
            | ExitReason::Panic(text) => text.clone(),
            _ => String::new(),
        };
        Self { kind: Cow::Borrowed(exit_kind(reason)), text }
    }
}

/// Returns one word for each kind of exit.
pub(crate) fn exit_kind(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown(_) => "shutdown",
        ExitReason::Error(_) => "error",
        ExitReason::Panic(_) => "panic",
        ExitReason::Killed => "killed",
        ExitReason::ReachedMaxRestartIntensity => "reached_max_restart_intensity",
        ExitReason::NoProcess => "noproc",
        _ => "other",
    }
}

impl Tree {
    pub(crate) fn of(
        snapshot: &TreeSnapshot,
        details: &dyn Fn(&TreeSnapshot) -> Map<String, Value>,
    ) -> Self {
        Self {
            path: snapshot.path.to_string(),
            id: snapshot.id.to_string(),
            kind: Cow::Borrowed(match snapshot.kind {
                ChildKind::Supervisor => "supervisor",
                ChildKind::Worker => "worker",
            }),
            type_name: Cow::Borrowed(snapshot.type_name),
            status: Cow::Owned(snapshot.status.to_string()),
            restarts: snapshot.restarts,
            uptime_ms: snapshot.uptime.map(|up| u64::try_from(up.as_millis()).unwrap_or(u64::MAX)),
            last_exit: snapshot.last_exit.as_ref().map(LastExit::of),
            thread: snapshot.thread.as_deref().map(str::to_owned),
            depth: snapshot.depth,
            details: details(snapshot),
            children: snapshot.children.iter().map(|child| Self::of(child, details)).collect(),
        }
    }

    /// Creates a node that is no actor, above others.
    pub(crate) fn above(
        name: String,
        kind: &'static str,
        status: &'static str,
        details: Map<String, Value>,
        children: Vec<Self>,
    ) -> Self {
        Self {
            path: name.clone(),
            id: name,
            kind: Cow::Borrowed("supervisor"),
            type_name: Cow::Borrowed(kind),
            status: Cow::Borrowed(status),
            restarts: 0,
            uptime_ms: None,
            last_exit: None,
            thread: None,
            depth: 0,
            details,
            children,
        }
    }

    /// Returns how many actors are shown, including this one.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// Returns the first actor for which this holds, from the top down, starting with this one.
    pub fn find(&self, holds: &dyn Fn(&Tree) -> bool) -> Option<&Tree> {
        if holds(self) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(holds))
    }

    /// Returns whether a later tree differs in more than times.
    pub(crate) fn differs(&self, other: &Tree) -> bool {
        let Self { path, status, restarts, last_exit, thread, depth, details, children, .. } = self;
        (path, status, restarts, last_exit, thread, depth, details)
            != (
                &other.path,
                &other.status,
                &other.restarts,
                &other.last_exit,
                &other.thread,
                &other.depth,
                &other.details,
            )
            || self.uptime_ms.is_some() != other.uptime_ms.is_some()
            || self.uptime_ms > other.uptime_ms
            || children.len() != other.children.len()
            || children.iter().zip(&other.children).any(|(one, other)| one.differs(other))
    }
}
