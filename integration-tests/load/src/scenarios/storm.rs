//! All peers join one room at once.

use std::io;

use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Client;
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    // One-time costs of the first peer.
    Client::join(server.endpoint(), "before").await?.close().await?;
    let (before, began) = (server.usage()?, Instant::now());
    let endpoint = server.endpoint();
    // Each is told of all later peers: together they are told of each pair once.
    let all = peers * (peers - 1) / 2;
    let told = watch::Sender::new(0);
    let joining = (0..peers).map(|_| {
        let told = told.clone();
        tokio::spawn(async move {
            let mut whole = told.subscribe();
            let began = Instant::now();
            let mut client = Client::join(endpoint, "storm").await?;
            let joined = began.elapsed();
            loop {
                tokio::select! {
                    heard = client.until("joined") => {
                        heard?;
                        // Only the last change matters.
                        told.send_if_modified(|told| {
                            *told += 1;
                            *told == all
                        });
                    }
                    // A client that left earlier would be announced to the others.
                    _ = whole.wait_for(|told| *told == all) => return io::Result::Ok(joined),
                }
            }
        })
    });
    let joined = try_join_all(joining).await.map_err(io::Error::other)?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    for wait in joined {
        waits.add(wait?);
    }
    let told = all as f64;
    let cpu = after.cpu_since(&before).as_secs_f64();
    Ok(Measured::default()
        .with("CPU s per million `joined`", cpu * 1e6 / told)
        .with("CPU ms per join", cpu * 1e3 / peers as f64)
        .with("`joined` per second", told / took.as_secs_f64())
        .with("seconds until all know of all", took.as_secs_f64())
        .with("join p50, ms", waits.percentile(50.0))
        .with("join p99, ms", waits.percentile(99.0))
        .with("join p99.9, ms", waits.percentile(99.9)))
}
