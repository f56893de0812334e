//! Everybody joins one room at once.

use std::io;

use futures_util::future::try_join_all;
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::client::Client;
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    // Whatever the first takes for all.
    Client::join(server.address, "before").await?.close().await?;
    let (before, began) = (server.usage()?, Instant::now());
    let address = server.address;
    let everybody = std::sync::Arc::new(Barrier::new(peers));
    let joining = (0..peers).map(|_| {
        let everybody = std::sync::Arc::clone(&everybody);
        tokio::spawn(async move {
            let began = Instant::now();
            let mut client = Client::join(address, "storm").await?;
            let joined = began.elapsed();
            // Each hears of all who came after it: of those who were there before, it was told. So all together
            // hear each pair once.
            let here = client.seen;
            for _ in here + 1..peers {
                client.until("joined").await?;
            }
            // Whoever leaves would be told to the others.
            everybody.wait().await;
            io::Result::Ok(joined)
        })
    });
    let joined = try_join_all(joining).await.map_err(io::Error::other)?;
    let (took, after) = (began.elapsed(), server.usage()?);
    let mut waits = Waits::new();
    for wait in joined {
        waits.add(wait?);
    }
    let told = (peers * (peers - 1) / 2) as f64;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    Ok(Measured::default()
        .with("CPU s per million `joined`", cpu * 1e6 / told)
        .with("CPU ms per join", cpu * 1e3 / peers as f64)
        .with("seconds until all know of all", took.as_secs_f64())
        .with("join p50, ms", waits.percentile(50.0))
        .with("join p99, ms", waits.percentile(99.0)))
}
