//! A publisher that sends more than the server can forward, to viewers that stand still: how much goes out, and what it
//! costs.
//!
//! The viewers are in a process of their own, which is stopped meanwhile: the kernel takes what comes for them, until
//! their sockets are full, and counts what it drops from then on. So the clients take no CPU time from the server.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::AT_ONCE;
use super::connect::Kept;
use super::rtp::Sender;
use super::track::Flow;
use crate::protocol::{Endpoint, Protocol};
use crate::report::Measured;
use crate::servers::{Process, parent_gone};
use crate::webrtc::{Peer, Wish};

pub(super) async fn measure(
    server: &Process,
    viewers: usize,
    time: Duration,
) -> io::Result<Measured> {
    let mut sender = Sender::connect(server).await?;
    let viewers = Viewers::start(server.address, viewers).await?;
    let epoch = Instant::now();
    sender.pour(epoch, Flow::VIDEO, WARM_UP, 0).await?;
    viewers.stop()?;
    let from = Flow::VIDEO.timestamp(Flow::VIDEO.frames(WARM_UP).count());
    let pouring = tokio::spawn(async move {
        let poured = sender.pour(epoch, FLOOD, FILL + time + LAST, from).await;
        // Until it is measured.
        poured.map(|()| sender)
    });
    viewers.full().await?;
    let (before, dropped, began) = (server.usage()?, viewers.dropped()?, Instant::now());
    // A measured period, not a wait for an event.
    sleep(time).await;
    let (after, delivered, took) = (server.usage()?, viewers.dropped()? - dropped, began.elapsed());
    pouring.abort();
    let millions = delivered as f64 / 1e6;
    let sent = FLOOD.packets(Duration::from_secs(1)) as f64 * took.as_secs_f64();
    Ok(Measured::default()
        .with("seconds for a million deliveries", took.as_secs_f64() / millions)
        .with("CPU s per million deliveries", after.cpu_since(&before).as_secs_f64() / millions)
        .with("deliveries per second", delivered as f64 / took.as_secs_f64())
        .with("CPUs busy", after.cpu_since(&before).as_secs_f64() / took.as_secs_f64())
        .with("of what was sent, %", delivered as f64 / (sent * viewers.ports.len() as f64) * 1e2))
}

/// Process of the viewers. It ends with this value.
struct Viewers {
    child: Child,
    ports: HashSet<u16>,
}

impl Viewers {
    async fn start(server: SocketAddr, viewers: usize) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["stand", &server.to_string(), &viewers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line()).await??.unwrap_or_default();
        let ports: Result<HashSet<u16>, _> = line.split_whitespace().map(str::parse).collect();
        let ports = ports.map_err(io::Error::other)?;
        if ports.len() != viewers {
            return Err(io::Error::other("the viewers did not connect"));
        }
        Ok(Self { child, ports })
    }

    fn stop(&self) -> io::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or(io::ErrorKind::NotFound)?;
        kill(Pid::from_raw(id), Signal::SIGSTOP).map_err(Into::into)
    }

    /// Waits until their sockets have no more room.
    async fn full(&self) -> io::Result<()> {
        let filling = async {
            // More for one than for another, but soon for all.
            while self.dropped()? < self.ports.len() as u64 {
                sleep(LOOK).await;
            }
            io::Result::Ok(())
        };
        timeout(FILL, filling).await?
    }

    /// Returns how many datagrams the kernel has dropped for want of room in their sockets (proc_net(5)).
    fn dropped(&self) -> io::Result<u64> {
        let table = std::fs::read_to_string("/proc/self/net/udp")?;
        let dropped = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = fields.get(1)?.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let dropped = fields.get(12)?.parse::<u64>().ok()?;
            self.ports.contains(&port).then_some(dropped)
        });
        Ok(dropped.sum())
    }
}

/// Connects so many viewers, says on which ports they are, and keeps them until standard input ends.
pub(crate) fn stand(server: SocketAddr, viewers: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Endpoint { protocol: Protocol::Offers, address: server };
        let connecting = (0..viewers).map(|_| async move {
            let peer = Peer::connect(server, Wish::Subscribe(1)).await?;
            io::Result::Ok((peer.port(), Kept::new(peer)))
        });
        let connected = stream::iter(connecting).buffer_unordered(AT_ONCE);
        let (ports, _kept): (Vec<_>, Vec<_>) =
            connected.try_collect::<Vec<_>>().await?.into_iter().unzip();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        println!("{}", ports.join(" "));
        parent_gone().await;
        Ok(())
    })
}

/// More than two threads can forward to 200.
const FLOOD: Flow = Flow::frames_of_ten(600);
/// Video for the time in which viewers are bound to the track.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time after which sockets that are not full never will be.
const FILL: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(1);
/// Time after which viewers that are not connected never will be.
const PATIENCE: Duration = Duration::from_secs(60);
