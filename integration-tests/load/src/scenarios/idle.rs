//! Peers who say nothing.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::join_all;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    // Whatever the first ones take for all.
    let first = join_all(server.address, ROOM, ROOM).await?;
    let (before, began) = (server.usage()?, Instant::now());
    let clients = join_all(server.address, peers, ROOM).await?;
    let took = began.elapsed();
    let joined = server.usage()?;
    // A wait that is measured, not one for something to happen.
    tokio::time::sleep(REST).await;
    let rested = server.usage()?;
    drop((first, clients));
    let per_peer = rested.rss.saturating_sub(before.rss) as f64 / peers as f64;
    Ok(Measured::default()
        .with("KiB of memory per peer", per_peer / 1_024.0)
        .with("joins per second", peers as f64 / took.as_secs_f64())
        .with("CPU µs per join", (joined.cpu - before.cpu).as_secs_f64() * 1e6 / peers as f64)
        .with(
            "CPU ms per second at rest",
            (rested.cpu - joined.cpu).as_secs_f64() * 1e3 / REST.as_secs_f64(),
        ))
}

const ROOM: usize = 5;
const REST: Duration = Duration::from_secs(5);
