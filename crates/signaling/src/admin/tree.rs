//! The tree as it is shown.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use callboard_supervision::{ChildKind, ExitReason, TreeSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::server_peer::SERVER_PEER;

/// An actor and those that are shown below it, at one moment: `GET /tree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tree {
    /// The names from the root to it. Also of one that is shown elsewhere: by this name it is shot at.
    pub path: String,
    /// Its name among its siblings.
    pub id: String,
    /// `worker` or `supervisor`.
    pub kind: Cow<'static, str>,
    /// The Rust type of its actor.
    #[serde(rename = "type")]
    pub type_name: Cow<'static, str>,
    /// `stopped`, `starting`, `running`, `stopping` or `restarting`.
    pub status: Cow<'static, str>,
    /// How often it has been started again by its supervisor.
    pub restarts: u64,
    /// For how long it has been up, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// Why its last life ended.
    pub last_exit: Option<LastExit>,
    /// The thread it runs on.
    pub thread: Option<String>,
    /// How many messages wait for it, if it tells.
    pub depth: usize,
    /// What else there is to say of it.
    pub details: Map<String, Value>,
    /// Those below it.
    pub children: Vec<Tree>,
}

/// Why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastExit {
    /// `normal`, `shutdown`, `error`, `panic`, `killed`, `noproc` or `reached_max_restart_intensity`.
    pub kind: Cow<'static, str>,
    /// What it said: of a panic its message. Empty if it said nothing.
    pub text: String,
}

impl LastExit {
    pub(super) fn of(reason: &ExitReason) -> Self {
        let text = match reason {
            ExitReason::Shutdown(Some(text))
            | ExitReason::Error(text)
            | ExitReason::Panic(text) => text.clone(),
            _ => String::new(),
        };
        Self { kind: Cow::Borrowed(exit_kind(reason)), text }
    }
}

/// One word for each kind of end.
pub(super) fn exit_kind(reason: &ExitReason) -> &'static str {
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
    pub(super) fn of(
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

    /// How many actors are shown, this one included.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// The first actor for which this holds, this one included, from the top down.
    pub fn find(&self, holds: &dyn Fn(&Tree) -> bool) -> Option<&Tree> {
        if holds(self) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(holds))
    }

    /// Whether a later one differs in more than the time.
    pub(super) fn differs(&self, other: &Tree) -> bool {
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

    /// The children of the node at this path that have one of these names, which no longer are there.
    pub(super) fn take(&mut self, path: &str, names: &HashSet<String>) -> HashMap<String, Tree> {
        if self.path != path {
            let mut children = self.children.iter_mut();
            let below = |child: &&mut Tree| {
                path.strip_prefix(&child.path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            return children.find(below).map(|child| child.take(path, names)).unwrap_or_default();
        }
        let (taken, kept) = std::mem::take(&mut self.children)
            .into_iter()
            .partition::<Vec<_>, _>(|child| names.contains(&child.id));
        self.children = kept;
        if !taken.is_empty() {
            self.details.insert("shown_elsewhere".to_owned(), taken.len().into());
        }
        taken.into_iter().map(|child| (child.id.clone(), child)).collect()
    }

    /// Show the server's side of a peer below the peer, beside which it runs.
    pub(super) fn nest(&mut self) {
        let is_server_peer = |child: &Tree| child.id.starts_with(SERVER_PEER);
        if self.children.iter().any(is_server_peer) {
            let (server_peers, mut others) = std::mem::take(&mut self.children)
                .into_iter()
                .partition::<Vec<_>, _>(is_server_peer);
            let places: HashMap<String, usize> =
                others.iter().enumerate().map(|(at, peer)| (peer.id.clone(), at)).collect();
            for server_peer in server_peers {
                match places.get(&server_peer.id[SERVER_PEER.len()..]) {
                    Some(&at) => others[at].children.push(server_peer),
                    None => others.push(server_peer),
                }
            }
            self.children = others;
        }
        self.children.iter_mut().for_each(Self::nest);
    }

    /// Show these below those that own them.
    pub(super) fn graft(&mut self, owned: &mut HashMap<String, Vec<Tree>>) {
        for child in &mut self.children {
            child.graft(owned);
        }
        self.children.extend(owned.remove(&self.id).into_iter().flatten());
    }

    /// The names of all that are shown.
    pub(super) fn ids<'a>(&'a self, into: &mut HashSet<&'a str>) {
        into.insert(&self.id);
        self.children.iter().for_each(|child| child.ids(into));
    }
}
