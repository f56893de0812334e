//! One who talks while others come.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::connect_all;
use crate::measure::Waits;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    let (rush, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let address = server.address;
    let talking = std::thread::spawn({
        let (rush, over) = (Arc::clone(&rush), Arc::clone(&over));
        // By itself: it does not wait behind what the others compute.
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(talk(address, &rush, &over))
        }
    });
    // A time that is measured, not one for something to happen.
    tokio::time::sleep(QUIET).await;
    rush.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let connected = std::thread::spawn(move || {
        // In the world these are on other machines: here they leave the CPU to the server and to the bystander.
        let humble = || _ = rustix::process::nice(19);
        let crowd = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .on_thread_start(humble)
            .build()?;
        let connected = crowd.block_on(connect_all(address, peers, peers))?;
        io::Result::Ok((connected, crowd))
    });
    let connected =
        tokio::task::spawn_blocking(|| connected.join()).await.map_err(io::Error::other)?;
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let talked = tokio::task::spawn_blocking(|| talking.join()).await.map_err(io::Error::other)?;
    let (quiet, busy) = talked.map_err(|_| io::Error::other("the bystander has panicked"))??;
    let (connected, crowd) =
        connected.map_err(|_| io::Error::other("the crowd has panicked"))??;
    drop(connected);
    crowd.shutdown_background();
    Ok(Measured::default()
        .with("echo p99 at rest, ms", quiet.percentile(99.0))
        .with("echo p50 during the rush, ms", busy.percentile(50.0))
        .with("echo p99 during the rush, ms", busy.percentile(99.0))
        .with("p99, rush to rest", busy.percentile(99.0) / quiet.percentile(99.0))
        .with("seconds until all are open", took.as_secs_f64()))
}

/// What its messages waited for, before the rush and in it.
async fn talk(
    server: SocketAddr,
    rush: &AtomicBool,
    over: &AtomicBool,
) -> io::Result<(Waits, Waits)> {
    let mut peer = Peer::connect(server, Wish::Echo).await?;
    let (mut quiet, mut busy) = (Waits::new(), Waits::new());
    let mut beat = tokio::time::interval(BEAT);
    while !over.load(Ordering::Relaxed) {
        beat.tick().await;
        // Which of the two it belongs to is known before it goes.
        let waits = if rush.load(Ordering::Relaxed) { &mut busy } else { &mut quiet };
        let sent = Instant::now();
        peer.send(&[7; 1_024])?;
        tokio::time::timeout(PATIENCE, peer.next()).await??;
        waits.add(sent.elapsed());
    }
    Ok((quiet, busy))
}

const QUIET: Duration = Duration::from_secs(2);
const BEAT: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);
