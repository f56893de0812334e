//! What outages cost: nodes that are killed and cut off, a NATS server that is killed, connections that are lost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use integration_tests::Namespace;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::Figure;
use super::crowd::Crowd;
use crate::cluster::stage::{CLUSTER, Stage};

/// Kills a node, which is started again at once.
pub(super) async fn killed(stage: &mut Stage, peers: usize) -> io::Result<Vec<Figure>> {
    let crowd = gather(stage, peers, "killed").await;
    stage.node(0).process.kill().await?;
    crowd.begin();
    stage.start_node(0)?;
    let back = crowd.wait(LONGEST, |member| member.node == 0, true).await?;
    let remote = |member: &super::crowd::Member| member.home == 0 && member.node != 0;
    let remote = crowd.wait(LONGEST, remote, false).await?;
    drop(crowd);
    stage.whole().await?;
    Ok(vec![
        Figure::new("node killed: its clients are back, p50", back.percentile(50.0), "ms"),
        Figure::new("node killed: its clients are back, p99", back.percentile(99.0), "ms")
            .at_most(3_000.0),
        Figure::new("node killed: rooms answer others, p50", remote.percentile(50.0), "ms"),
        Figure::new("node killed: rooms answer others, p99", remote.percentile(99.0), "ms")
            .at_most(1_500.0),
    ])
}

/// Kills a node, which is started again only when all is over: its rooms are free because its process refuses
/// connections.
pub(super) async fn gone(stage: &mut Stage, peers: usize) -> io::Result<Vec<Figure>> {
    let crowd = gather(stage, peers, "gone").await;
    stage.watched().await?;
    stage.node(0).process.kill().await?;
    crowd.begin();
    let back = crowd.wait(LONGEST, |member| member.node == 0, true).await?;
    let remote = |member: &super::crowd::Member| member.home == 0 && member.node != 0;
    let remote = crowd.wait(LONGEST, remote, false).await?;
    stage.start_node(0)?;
    drop(crowd);
    stage.whole().await?;
    Ok(vec![
        Figure::new(
            "killed, not started again: its clients are back, p50",
            back.percentile(50.0),
            "ms",
        ),
        Figure::new(
            "killed, not started again: its clients are back, p99",
            back.percentile(99.0),
            "ms",
        )
        .at_most(3_000.0),
        Figure::new(
            "killed, not started again: rooms answer others, p50",
            remote.percentile(50.0),
            "ms",
        ),
        Figure::new(
            "killed, not started again: rooms answer others, p99",
            remote.percentile(99.0),
            "ms",
        )
        .at_most(1_500.0),
    ])
}

/// Takes the network from a node.
pub(super) async fn cut_off(stage: &mut Stage, peers: usize) -> io::Result<Vec<Figure>> {
    let crowd = gather(stage, peers, "cut").await;
    let node = &stage.nodes()[0];
    let (name, address, network) =
        (node.name, node.address, stage.bed.host(node.name).network.clone());
    stage.bed.link(name, false);
    crowd.begin();
    let shut = spawn_blocking(move || until_shut(&network, address));
    let others = |member: &super::crowd::Member| member.home == 0 && member.node != 0;
    let others = crowd.wait(LONGEST, others, false).await;
    let shut = shut.await.map_err(io::Error::other)?;
    stage.bed.link(name, true);
    drop(crowd);
    stage.whole().await?;
    Ok(vec![
        Figure::new("node cut off: its session ends", shut?.as_secs_f64(), "s").at_most(15.1),
        Figure::new(
            "node cut off: its rooms answer elsewhere, p99",
            others?.percentile(99.0) / 1_000.0,
            "s",
        )
        .at_most(20.0),
    ])
}

/// Returns how long the session of a node lasts that only its own network reaches.
fn until_shut(network: &Namespace, node: SocketAddr) -> io::Result<Duration> {
    let began = Instant::now();
    network.run(|| {
        while began.elapsed() < LONGEST {
            let mut stream = TcpStream::connect(node)?;
            write!(stream, "GET /facts HTTP/1.0\r\nHost: {node}\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            if answer.contains("\"lease_ms\":null") {
                return Ok(began.elapsed());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Err(io::ErrorKind::TimedOut.into())
    })
}

/// Kills the server that leads the bucket.
pub(super) async fn leader(stage: &mut Stage) -> io::Result<Vec<Figure>> {
    let before = lapses(stage).await?;
    let leader = stage.nats.led(CLUSTER).await?;
    stage.nats.server(leader).process.kill().await?;
    // The others elect another in 4 to 10 s; a hold is 15 s.
    sleep(Duration::from_secs(20)).await;
    stage.nats.server(leader).start()?;
    stage.whole().await?;
    let after = lapses(stage).await?;
    Ok(vec![Figure::new("NATS leader killed: sessions that end", after - before, "").at_most(0.0)])
}

async fn lapses(stage: &Stage) -> io::Result<f64> {
    let mut all = 0;
    for node in 0..stage.nodes().len() {
        let facts = stage.facts(node).await.ok_or(io::ErrorKind::TimedOut)?;
        all += facts["lapses"].as_u64().ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(all as f64)
}

/// Cuts the connections of a node to NATS again and again.
pub(super) async fn reconnects(stage: &Stage) -> io::Result<Vec<Figure>> {
    let nodes = stage.nodes().len() as f64;
    let network = stage.bed.host(stage.nodes()[0].name).network.clone();
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < RECONNECTING {
        // `ss -K` ends connections as if the other side had (needs CONFIG_INET_DIAG_DESTROY).
        let killed = network.command("ss").args(["-K", "dport", "=", ":4222"]).output()?;
        count += String::from_utf8_lossy(&killed.stdout).lines().skip(1).count();
        sleep(Duration::from_millis(100)).await;
    }
    let settled = async {
        // Consumers of connections that are gone are removed after a while.
        loop {
            let now = consumers(stage).await;
            match now {
                Ok(now) if now == nodes => return now,
                _ => sleep(Duration::from_millis(500)).await,
            }
        }
    };
    let after = match timeout(SETTLING, settled).await {
        Ok(settled) => settled,
        Err(_) => consumers(stage).await?,
    };
    Ok(vec![
        Figure::new("connections to NATS that were cut", count as f64, ""),
        Figure::new("… consumers of the bucket afterwards", after, "").at_most(nodes),
    ])
}

async fn consumers(stage: &Stage) -> io::Result<f64> {
    stage.nats.led(CLUSTER).await?;
    let consumers = stage.nats.consumers(CLUSTER).await.ok_or(io::ErrorKind::TimedOut)?;
    Ok(consumers as f64)
}

/// Lets clients join at the first three nodes.
async fn gather(stage: &Stage, peers: usize, prefix: &str) -> Crowd {
    let addresses: Vec<SocketAddr> =
        stage.nodes().iter().take(3).map(|node| node.address).collect();
    Crowd::gather(&addresses, peers, prefix).await
}

/// Longest time until all have an answer.
const LONGEST: Duration = Duration::from_secs(60);
const RECONNECTING: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(30);
