//! Liveness and readiness.

use std::time::Duration;

use callboard_supervision::{Restart, Status};
use serde::Serialize;
use tokio::time::timeout;

use crate::admin::Admin;

/// An actor that should run and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotReady {
    /// Path of the actor.
    pub path: String,
    /// Its current status.
    pub status: String,
}

impl Admin {
    /// Returns which of the root and its permanent children should run and do not. If there are none, the server is
    /// ready.
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

/// Time after which a supervisor that decides nothing counts as hung.
const PATIENCE: Duration = Duration::from_secs(1);
