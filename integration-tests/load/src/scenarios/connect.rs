//! Time from the offer until the data channel is open.

use std::io;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::measure::Waits;
use crate::protocol::Endpoint;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    at_once: usize,
) -> io::Result<Measured> {
    // One-time costs of the first connection.
    let first = connect(server.endpoint()).await?;
    let (before, began) = (server.usage()?, Instant::now());
    let connected = connect_all(server.endpoint(), peers, at_once).await?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    connected.iter().for_each(|(wait, _)| waits.add(*wait));
    close_all(connected.into_iter().chain([first])).await;
    Ok(Measured::default()
        .with("CPU ms per connect", after.cpu_since(&before).as_secs_f64() * 1e3 / peers as f64)
        .with("connects per second", peers as f64 / took.as_secs_f64())
        .with("until open p50, ms", waits.percentile(50.0))
        .with("until open p99, ms", waits.percentile(99.0)))
}

/// Connection that is kept up until this is dropped.
pub(super) struct Kept {
    _close: oneshot::Sender<()>,
    kept: JoinHandle<()>,
}

impl Kept {
    pub(super) fn new(mut peer: Peer) -> Self {
        let (close, mut closed) = oneshot::channel::<()>();
        let kept = tokio::spawn(async move {
            loop {
                tokio::select! {
                    next = peer.next() => if next.is_err() { return },
                    _ = &mut closed => break,
                }
            }
            // The other side may be gone already.
            _ = peer.close().await;
        });
        Self { _close: close, kept }
    }
}

/// Closes connections with a goodbye, so that a server that goes on running is as it was before.
pub(super) async fn close_all(connections: impl IntoIterator<Item = (Duration, Kept)>) {
    let closing = connections.into_iter().map(|(_, Kept { _close, kept })| kept);
    let closing: Vec<_> = closing.collect();
    for kept in closing {
        // A task that has panicked has ended as well.
        _ = kept.await;
    }
}

/// Connects, and returns the time that it took.
pub(super) async fn connect(server: Endpoint) -> io::Result<(Duration, Kept)> {
    let began = Instant::now();
    let peer = Peer::connect(server, Wish::Echo).await?;
    Ok((began.elapsed(), Kept::new(peer)))
}

pub(super) async fn connect_all(
    server: Endpoint,
    peers: usize,
    at_once: usize,
) -> io::Result<Vec<(Duration, Kept)>> {
    let connecting = (0..peers)
        .map(|_| async move { tokio::spawn(connect(server)).await.map_err(io::Error::other)? });
    stream::iter(connecting).buffer_unordered(at_once).try_collect().await
}
