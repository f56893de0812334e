//! One peer that sends to all others in a room.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{join_all, kibibyte};
use crate::client::To;
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;

pub(super) async fn measure(
    server: &Process,
    receivers: usize,
    time: Duration,
) -> io::Result<Measured> {
    let mut clients = join_all(server, receivers + 1, receivers + 1).await?;
    let Some(mut sender) = clients.pop() else { return Err(io::ErrorKind::NotFound.into()) };
    let (tell, mut heard) = mpsc::unbounded_channel();
    // They leave at the end: a server that goes on running would send to them in the next round.
    let mut listening = JoinSet::new();
    for mut client in clients {
        let tell = tell.clone();
        listening.spawn(async move {
            while client.until("word").await.is_ok() {
                if tell.send(Instant::now()).is_err() {
                    break;
                }
            }
        });
    }
    drop(tell);
    let text = sender.message("word", &kibibyte(), To::All)?;
    let own = sender.hears_itself();

    let mut waits = Waits::new();
    let mut last = Waits::new();
    let mut round = async |waits: &mut Waits, last: &mut Waits| -> io::Result<()> {
        let sent = Instant::now();
        sender.send(text.clone()).await?;
        let mut latest = sent;
        for _ in 0..receivers {
            let next = async {
                loop {
                    tokio::select! {
                        biased;
                        at = heard.recv() => break at.ok_or(io::ErrorKind::UnexpectedEof.into()),
                        // A client that does not read answers no pings.
                        other = sender.next(), if !own => drop(other?),
                    }
                }
            };
            let next: io::Result<Instant> = tokio::time::timeout(PATIENCE, next).await?;
            let at = next?;
            waits.add(at - sent);
            latest = latest.max(at);
        }
        if own {
            sender.until("word").await?;
        }
        last.add(latest - sent);
        Ok(())
    };
    // Announcements of joins are read before the measurement begins.
    round(&mut Waits::new(), &mut Waits::new()).await?;

    let (before, began) = (server.usage()?, Instant::now());
    let mut rounds = 0_u64;
    while began.elapsed() < time {
        round(&mut waits, &mut last).await?;
        rounds += 1;
    }
    let (took, after) = (began.elapsed(), server.usage()?);
    let deliveries = rounds as f64 * (receivers + usize::from(own)) as f64;
    Ok(Measured::default()
        .with(
            "CPU s per million deliveries",
            after.cpu_since(&before).as_secs_f64() * 1e6 / deliveries,
        )
        .with("deliveries per second", deliveries / took.as_secs_f64())
        .with("delivery p50, ms", waits.percentile(50.0))
        .with("delivery p99, ms", waits.percentile(99.0))
        .with("delivery p99.9, ms", waits.percentile(99.9))
        .with("last delivery p50, ms", last.percentile(50.0)))
}

const PATIENCE: Duration = Duration::from_secs(60);
