//! Whether it lives, and whether it works.

use std::time::Duration;

use callboard_supervision::{Restart, Status};
use serde::Serialize;
use tokio::time::timeout;

use super::Admin;

/// Something that should run and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotReady {
    /// Which actor.
    pub path: String,
    /// What it is doing instead.
    pub status: String,
}

impl Admin {
    /// What should run and does not: of the root and its permanent children. Nothing: the server is ready.
    pub async fn not_ready(&self) -> Vec<NotReady> {
        let root = &self.inner.root;
        let snapshot = root.snapshot();
        let down = |path: String, status: String| NotReady { path, status };
        if snapshot.status != Status::Running {
            return vec![down(snapshot.path.to_string(), snapshot.status.to_string())];
        }
        match timeout(PATIENCE, root.which_children()).await {
            Ok(Ok(children)) => children
                .into_iter()
                .filter(|child| child.policy.restart == Restart::Permanent)
                .filter(|child| child.status != Status::Running)
                .map(|child| {
                    down(format!("{}/{}", snapshot.path, child.id), child.status.to_string())
                })
                .collect(),
            Ok(Err(_)) => vec![down(snapshot.path.to_string(), Status::Stopped.to_string())],
            Err(_) => vec![down(snapshot.path.to_string(), "silent".to_owned())],
        }
    }
}

/// A supervisor that decides nothing for this long has hung.
const PATIENCE: Duration = Duration::from_secs(1);
