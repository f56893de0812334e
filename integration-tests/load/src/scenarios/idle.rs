//! Silent peers, with or without a peer connection to the server.

use std::io;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::connect::Kept;
use super::join_all;
use crate::client::Client;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    connections: bool,
) -> io::Result<Measured> {
    // One-time costs of the first peers.
    let first = come(server, ROOM, connections).await?;
    let (before, began) = (server.usage()?, Instant::now());
    let clients = come(server, peers, connections).await?;
    let took = began.elapsed();
    let joined = server.usage()?;
    // A measured period, not a wait for an event.
    tokio::time::sleep(REST).await;
    let rested = server.usage()?;
    drop((first, clients));
    let per_peer = rested.rss.saturating_sub(before.rss) as f64 / peers as f64;
    Ok(Measured::default()
        .with("KiB of memory per peer", per_peer / 1_024.0)
        .with("joins per second", peers as f64 / took.as_secs_f64())
        .with("CPU µs per join", joined.cpu_since(&before).as_secs_f64() * 1e6 / peers as f64)
        .with(
            "CPU ms per second at rest",
            rested.cpu_since(&joined).as_secs_f64() * 1e3 / REST.as_secs_f64(),
        ))
}

async fn come(
    server: &Process,
    peers: usize,
    connections: bool,
) -> io::Result<Vec<(Client, Option<Kept>)>> {
    let clients = join_all(server, peers, ROOM).await?;
    if !connections {
        return Ok(clients.into_iter().map(|client| (client, None)).collect());
    }
    let connecting = clients.into_iter().map(|mut client| async move {
        let peer = Peer::connect_behind(&mut client, &Wish::Echo).await?;
        io::Result::Ok((client, Some(Kept::new(peer))))
    });
    stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await
}

const ROOM: usize = 5;
const REST: Duration = Duration::from_secs(5);
/// Peers that connect at the same time.
const AT_ONCE: usize = 16;
