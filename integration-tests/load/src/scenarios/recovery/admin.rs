//! Client of the server's admin routes, over HTTP.

use std::io;
use std::net::SocketAddr;

use callboard_admin::{FaultOrder, Tree};
use serde::Deserialize;
use tokio::time::Instant;

use crate::http;

/// Reads the server's tree, and injects faults into it.
#[derive(Clone, Copy)]
pub(in crate::scenarios) struct Admin(pub(in crate::scenarios) SocketAddr);

/// Recovery that the server has recorded.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Noted {
    pub(super) id: u64,
    pub(super) path: String,
    /// The injected fault; none if the actor failed by itself.
    pub(super) fault: Option<String>,
    /// Time from the fault until the tree was whole again.
    pub(super) whole_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Recoveries {
    recoveries: Vec<Noted>,
}

impl Admin {
    pub(in crate::scenarios) async fn tree(&self) -> io::Result<Tree> {
        Ok(serde_json::from_str(&self.ask("GET", "/tree", "").await?.1)?)
    }

    /// Returns the latest 256 recoveries, the latest last.
    pub(super) async fn recoveries(&self) -> io::Result<Vec<Noted>> {
        let (_, answer) = self.ask("GET", "/tree/recoveries", "").await?;
        Ok(serde_json::from_str::<Recoveries>(&answer)?.recoveries)
    }

    /// Injects a fault; returns the time at which it was sent.
    pub(super) async fn inject(&self, order: &FaultOrder) -> io::Result<Instant> {
        let order = serde_json::to_string(order)?;
        Ok(self.ask("POST", "/tree/fault", &order).await?.0)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<(Instant, String)> {
        http::ask(self.0, method, path, ("application/json", body.to_owned())).await
    }
}
