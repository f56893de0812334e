//! Latency of one client while many others connect.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::connect::connect_all;
use crate::measure::Waits;
use crate::protocol::{Endpoint, Protocol};
use crate::report::Measured;
use crate::servers::{self, Process};
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(server: &Process, peers: usize) -> io::Result<Measured> {
    let (rush, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let endpoint = server.endpoint();
    let talking = std::thread::spawn({
        let (rush, over) = (Arc::clone(&rush), Arc::clone(&over));
        // On a thread of its own: it does not wait behind the work of the others.
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(talk(endpoint, &rush, &over))
        }
    });
    // A measured period, not a wait for an event.
    tokio::time::sleep(QUIET).await;
    rush.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let rush = Rush::start(server.address, peers).await;
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let talked = tokio::task::spawn_blocking(|| talking.join()).await.map_err(io::Error::other)?;
    let (quiet, busy) = talked.map_err(|_| io::Error::other("the bystander has panicked"))??;
    drop(rush?);
    Ok(Measured::default()
        .with("echo p99 at rest, ms", quiet.percentile(99.0))
        .with("echo p50 during the rush, ms", busy.percentile(50.0))
        .with("echo p99 during the rush, ms", busy.percentile(99.0))
        .with("p99, rush to rest", busy.percentile(99.0) / quiet.percentile(99.0))
        .with("seconds until all are open", took.as_secs_f64()))
}

/// Clients that connect, in a process of their own. In production they are on other machines: here they get the CPU
/// time that the server and the bystander leave, or these would wait for them in the middle of the measurement.
struct Rush {
    _process: Child,
}

impl Rush {
    /// Starts all of them at once; resolves when they are connected.
    async fn start(server: SocketAddr, peers: usize) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let spawn = |mut command: Command| {
            let command = command.args(["rush", &server.to_string(), &peers.to_string()]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()
        };
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0"]).arg(&program);
        // Where other processes leave no CPU time it gets none: then it takes a normal share.
        for command in [idle, Command::new(program)] {
            let mut process = match spawn(command) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                started => started?,
            };
            let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let line = BufReader::new(output).lines().next_line().await?;
            if line.as_deref() == Some(CONNECTED) {
                return Ok(Self { _process: process });
            }
        }
        Err(io::Error::other("the others did not get in"))
    }
}

/// Connects them all at once, and keeps them connected until standard input ends.
pub(crate) fn rush(address: SocketAddr, peers: usize) -> io::Result<()> {
    let server = Endpoint { protocol: Protocol::Offers, address };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let connected = connect_all(server, peers, peers).await?;
        println!("{CONNECTED}");
        servers::parent_gone().await;
        drop(connected);
        Ok(())
    })
}

/// Returns the round-trip times of its messages before the rush and during it.
async fn talk(
    server: Endpoint,
    rush: &AtomicBool,
    over: &AtomicBool,
) -> io::Result<(Waits, Waits)> {
    let mut peer = Peer::connect(server, Wish::Echo).await?;
    let (mut quiet, mut busy) = (Waits::new(), Waits::new());
    let mut beat = tokio::time::interval(BEAT);
    while !over.load(Ordering::Relaxed) {
        beat.tick().await;
        // Which of the two a message belongs to is decided before it is sent.
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
const CONNECTED: &str = "connected";
