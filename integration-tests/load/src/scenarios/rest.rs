//! Silent peer connections.

use std::io;
use std::time::Duration;

use super::connect::{close_all, connect_all};
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    // One-time costs of the first connections.
    let first = connect_all(server.endpoint(), FIRST, AT_ONCE).await?;
    tokio::time::sleep(REST).await;
    let before = server.usage()?;
    let connections = connect_all(server.endpoint(), peers, AT_ONCE).await?;
    // Measured periods, not waits for an event.
    tokio::time::sleep(REST).await;
    let rested = server.usage()?;
    tokio::time::sleep(REST).await;
    let later = server.usage()?;
    close_all(connections.into_iter().chain(first)).await;
    let per_peer = later.rss.saturating_sub(before.rss) as f64 / peers as f64;
    let cpu = later.cpu_since(&rested).as_secs_f64() / REST.as_secs_f64();
    Ok(Measured::default()
        .with("KiB of memory per connection", per_peer / 1_024.0)
        .with("CPU µs per connection and second", cpu * 1e6 / peers as f64))
}

const FIRST: usize = 20;
const AT_ONCE: usize = 10;
const REST: Duration = Duration::from_secs(3);
