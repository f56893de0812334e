//! Pairs that send each other messages.

use std::io;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{join_all, kibibyte};
use crate::client::{Client, To};
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    pairs: usize,
    time: Duration,
) -> io::Result<Measured> {
    let mut clients = join_all(server, pairs * 2, pairs * 2).await?;
    let mut ready = Vec::new();
    while let (Some(a), Some(b)) = (clients.pop(), clients.pop()) {
        ready.push((a, b));
    }
    // Announcements of later joins wait in the sockets: they are read before the measurement begins.
    let warm = ready.into_iter().map(|(a, b)| tokio::spawn(play(a, b, Duration::ZERO)));
    let warm = try_join_all(warm).await.map_err(io::Error::other)?;
    let pairs = warm.into_iter().collect::<io::Result<Vec<_>>>()?;

    let (before, began) = (server.usage()?, Instant::now());
    let playing = pairs.into_iter().map(|(a, b, _)| tokio::spawn(play(a, b, time)));
    let played = try_join_all(playing).await.map_err(io::Error::other)?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    let mut messages = 0;
    for pair in played {
        let (_, _, (rounds, its)) = pair?;
        messages += rounds * 2;
        waits.join(&its);
    }
    Ok(Measured::default()
        .with(
            "CPU s per million messages",
            after.cpu_since(&before).as_secs_f64() * 1e6 / messages as f64,
        )
        .with("messages per second", messages as f64 / took.as_secs_f64())
        .with("round trip p50, ms", waits.percentile(50.0))
        .with("round trip p99, ms", waits.percentile(99.0))
        .with("round trip p99.9, ms", waits.percentile(99.9)))
}

/// Plays a pair: one client sends, the other answers, at least once and until the time is over.
async fn play(
    mut a: Client,
    mut b: Client,
    time: Duration,
) -> io::Result<(Client, Client, (u64, Waits))> {
    let there = a.message("play", &kibibyte(), To::Peer(&b.id))?;
    let back = b.message("play", &kibibyte(), To::Peer(&a.id))?;
    let (mut rounds, mut waits) = (0, Waits::new());
    let end = Instant::now() + time;
    loop {
        let sent = Instant::now();
        a.send(there.clone()).await?;
        b.until("play").await?;
        b.send(back.clone()).await?;
        a.until("play").await?;
        waits.add(sent.elapsed());
        rounds += 1;
        if Instant::now() >= end {
            return Ok((a, b, (rounds, waits)));
        }
    }
}
