//! What messages, and rooms that are opened, cost over nodes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Figure;
use crate::client::{Client, To};
use crate::cluster::stage::Stage;
use crate::measure::{Family, Usage, Waits};
use crate::protocol::{Endpoint, Protocol};
use crate::statistics::Spread;

/// Joins a room at a node.
pub(super) async fn join(address: SocketAddr, room: &str) -> io::Result<Client> {
    Client::join(Endpoint { protocol: Protocol::Callboard, address }, room).await
}

/// Measures messages between clients of one node and of two.
pub(super) async fn messages(stage: &Stage, seconds: u64) -> io::Result<Vec<Figure>> {
    let [a, b] = [0, 1].map(|at| stage.nodes()[at].address);
    let (mut costs, mut added) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let local = pairs(stage, [a, a], &format!("near-{round}"), seconds).await?;
        let across = pairs(stage, [a, b], &format!("far-{round}"), seconds).await?;
        costs.push(across.0 / local.0);
        added.push(across.1 - local.1);
    }
    Ok(vec![
        Figure::new("message across nodes ÷ local, CPU of all nodes", median(&costs), "×")
            .at_most(2.5),
        Figure::new("message across nodes, added p50", median(&added), "ms").at_most(0.6),
    ])
}

/// Lets pairs send each other messages, the first of each at the room's home; returns the CPU time of all nodes for
/// one, and half of the median time there and back in ms.
async fn pairs(
    stage: &Stage,
    at: [SocketAddr; 2],
    name: &str,
    seconds: u64,
) -> io::Result<(f64, f64)> {
    let mut all = Vec::new();
    for pair in 0..PAIRS {
        let room = format!("{name}-{pair}");
        all.push((join(at[0], &room).await?, join(at[1], &room).await?));
    }
    let before = usage(stage)?;
    let playing = all.into_iter().map(|(a, b)| tokio::spawn(play(a, b, seconds)));
    let played = try_join_all(playing).await.map_err(io::Error::other)?;
    let cpu = usage(stage)?.cpu_since(&before).as_secs_f64();
    let (mut waits, mut count) = (Waits::new(), 0);
    for pair in played {
        let its = pair?;
        count += its.count() * 2;
        waits.join(&its);
    }
    Ok((cpu / count as f64, waits.percentile(50.0) / 2.0))
}

pub(super) async fn play(mut a: Client, mut b: Client, seconds: u64) -> io::Result<Waits> {
    let kibibyte = "x".repeat(1_024);
    let there = a.message("play", &kibibyte, To::Peer(&b.id))?;
    let back = b.message("play", &kibibyte, To::Peer(&a.id))?;
    let (mut waits, end) = (Waits::new(), Instant::now() + Duration::from_secs(seconds));
    while Instant::now() < end || waits.count() == 0 {
        let sent = Instant::now();
        a.send(there.clone()).await?;
        b.until("play").await?;
        b.send(back.clone()).await?;
        a.until("play").await?;
        waits.add(sent.elapsed());
    }
    Ok(waits)
}

/// Measures messages to all, whose receivers are at one node, and at four.
pub(super) async fn fan_out(
    stage: &Stage,
    receivers: usize,
    seconds: u64,
) -> io::Result<Vec<Figure>> {
    let all: Vec<SocketAddr> = stage.nodes().iter().map(|node| node.address).collect();
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let near =
            broadcast(stage, &all[..1], &format!("hall-{round}"), receivers, seconds).await?;
        let far = broadcast(stage, &all, &format!("halls-{round}"), receivers, seconds).await?;
        ratios.push(far / near);
    }
    let what = "fan-out over 4 nodes ÷ local, CPU of all nodes";
    Ok(vec![Figure::new(what, median(&ratios), "×").at_most(1.15)])
}

/// Returns the CPU time of all nodes for a delivery.
async fn broadcast(
    stage: &Stage,
    at: &[SocketAddr],
    room: &str,
    receivers: usize,
    seconds: u64,
) -> io::Result<f64> {
    let mut sender = join(at[0], room).await?;
    let joining = (0..receivers).map(|number| join(at[number % at.len()], room));
    let clients: Vec<Client> =
        stream::iter(joining).buffer_unordered(AT_ONCE).try_collect().await?;
    let (tell, mut heard) = mpsc::unbounded_channel();
    let mut listening = JoinSet::new();
    for mut client in clients {
        let tell = tell.clone();
        listening.spawn(async move {
            while client.until("word").await.is_ok() && tell.send(()).is_ok() {}
        });
    }
    let text = sender.message("word", &"x".repeat(1_024), To::All)?;
    let mut round = async || -> io::Result<()> {
        sender.send(text.clone()).await?;
        for _ in 0..receivers {
            let next = async {
                loop {
                    tokio::select! {
                        biased;
                        told = heard.recv() => return told.ok_or(io::ErrorKind::UnexpectedEof.into()),
                        // A client that does not read answers no pings.
                        other = sender.next() => drop(other?),
                    }
                }
            };
            let next: io::Result<()> = timeout(PATIENCE, next).await?;
            next?;
        }
        Ok(())
    };
    // Announcements of joins are read before.
    round().await?;
    let (before, began, mut rounds) = (usage(stage)?, Instant::now(), 0_u64);
    while began.elapsed() < Duration::from_secs(seconds) {
        round().await?;
        rounds += 1;
    }
    let cpu = usage(stage)?.cpu_since(&before).as_secs_f64();
    // Their departures cost more than what is measured next.
    drop(listening);
    for _ in 0..receivers {
        sender.until("left").await?;
    }
    Ok(cpu / (rounds as f64 * receivers as f64))
}

/// Measures how long it takes to join a room that must be opened, in a cluster and without one.
pub(super) async fn opening(stage: &Stage) -> io::Result<Vec<Figure>> {
    let here = stage.nodes()[0].address;
    let (mut open, mut opened) = (Waits::new(), Waits::new());
    for number in 0..ROOMS {
        let room = format!("new-{number}");
        let began = Instant::now();
        let _first = join(here, &room).await?;
        open.add(began.elapsed());
        let began = Instant::now();
        let _second = join(here, &room).await?;
        opened.add(began.elapsed());
    }
    let added = |percent: f64| open.percentile(percent) - opened.percentile(percent);
    let began = Instant::now();
    let rooms: Vec<String> = (0..MANY_ROOMS).map(|number| format!("many-{number}")).collect();
    let joining = rooms.iter().map(|room| join(here, room));
    let all: Vec<Client> = stream::iter(joining).buffer_unordered(AT_ONCE).try_collect().await?;
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    Ok(vec![
        Figure::new("open a room on demand, added p50", added(50.0), "ms").at_most(4.0),
        Figure::new("open a room on demand, added p99", added(99.0), "ms").at_most(20.0),
        Figure::new("rooms opened at one node", rate, "1/s").at_least(500.0),
    ])
}

/// Returns the usage of all nodes.
fn usage(stage: &Stage) -> io::Result<Usage> {
    let mut all = Usage::default();
    for node in stage.nodes() {
        all += Family::of(node.process.id().ok_or(io::ErrorKind::NotFound)?)?.usage()?;
    }
    Ok(all)
}

pub(super) fn median(rounds: &[f64]) -> f64 {
    Spread::of(rounds).map_or(f64::NAN, |spread| spread.median)
}

/// Number of times that two things are measured in turn.
pub(super) const ROUNDS: usize = 3;
const PAIRS: usize = 20;
const AT_ONCE: usize = 50;
const ROOMS: usize = 200;
const MANY_ROOMS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
