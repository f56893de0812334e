//! Peers that join, say something, and leave, one in ten of them without a goodbye.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::client::{Client, To};
use crate::measure::{Usage, Waits};
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    peers: usize,
    time: Duration,
) -> io::Result<Measured> {
    let actors = server.actors_at_rest(None).await?;
    let (began, came) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let end = began + time;
    let coming = (0..peers).map(|at| {
        let (address, came) = (server.endpoint(), Arc::clone(&came));
        tokio::spawn(async move {
            let mut waits = Waits::new();
            while Instant::now() < end {
                let joining = Instant::now();
                let mut client = Client::join(address, &format!("churn-{}", at % ROOMS)).await?;
                waits.add(joining.elapsed());
                let text = client.message("hello", "", To::Peer(&client.id))?;
                client.send(text).await?;
                client.until("hello").await?;
                // A client that is dropped says no goodbye.
                if came.fetch_add(1, Ordering::Relaxed) % 10 != 0 {
                    client.close().await?;
                }
            }
            io::Result::Ok(waits)
        })
    });
    let coming = tokio::spawn(try_join_all(coming));
    tokio::time::sleep_until(began + time / 3).await;
    let early = (server.usage()?, came.load(Ordering::Relaxed));
    let all = coming.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let late = (server.usage()?, came.load(Ordering::Relaxed));
    let mut waits = Waits::new();
    for one in all {
        waits.join(&one?);
    }
    let kib = |usage: Usage| usage.rss as f64 / 1_024.0;
    let thousands = (late.1 - early.1) as f64 / 1e3;
    let cpu = late.0.cpu_since(&early.0).as_secs_f64();
    let measured = Measured::default()
        .with("KiB kept per thousand peers", (kib(late.0) - kib(early.0)) / thousands)
        .with("descriptors at the end", server.descriptors_at_rest(BASE).await? as f64);
    let measured = match (actors, server.actors_at_rest(actors).await?) {
        (Some(before), Some(after)) => measured.with("actors kept", after as f64 - before as f64),
        _ => measured,
    };
    Ok(measured
        .with("peers per second", late.1 as f64 / time.as_secs_f64())
        .with("CPU ms per peer", cpu / thousands)
        .with("join p99, ms", waits.percentile(99.0)))
}

const ROOMS: usize = 10;
/// Upper limit of the descriptors of a server without clients: its own sockets, timers and threads' wake-ups.
const BASE: usize = 64;
