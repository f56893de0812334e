//! Offers, until their data channels are open.

use std::io;
use std::net::SocketAddr;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    at_once: usize,
) -> io::Result<Measured> {
    // Whatever the first takes for all.
    let first = connect(server.address).await?;
    let (before, began) = (server.usage()?, Instant::now());
    let connected = connect_all(server.address, peers, at_once).await?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    connected.iter().for_each(|(wait, _)| waits.add(*wait));
    drop(first);
    Ok(Measured::default()
        .with("CPU ms per connect", (after.cpu - before.cpu).as_secs_f64() * 1e3 / peers as f64)
        .with("connects per second", peers as f64 / took.as_secs_f64())
        .with("until open p50, ms", waits.percentile(50.0))
        .with("until open p99, ms", waits.percentile(99.0)))
}

/// A connection that is kept up until this is dropped.
pub(super) struct Kept(JoinHandle<()>);

impl Kept {
    pub(super) fn new(mut peer: Peer) -> Self {
        // Ends when the connection does.
        Self(tokio::spawn(async move { while peer.next().await.is_ok() {} }))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// With the time that it took.
pub(super) async fn connect(server: SocketAddr) -> io::Result<(std::time::Duration, Kept)> {
    let began = Instant::now();
    let peer = Peer::connect(server, Wish::Echo).await?;
    Ok((began.elapsed(), Kept::new(peer)))
}

pub(super) async fn connect_all(
    server: SocketAddr,
    peers: usize,
    at_once: usize,
) -> io::Result<Vec<(std::time::Duration, Kept)>> {
    let connecting = (0..peers)
        .map(|_| async move { tokio::spawn(connect(server)).await.map_err(io::Error::other)? });
    stream::iter(connecting).buffer_unordered(at_once).try_collect().await
}
