//! Clients that come back after every loss, and say when they had an answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::traffic::join;
use crate::client::{Client, To};
use crate::measure::Waits;

/// Clients in rooms of ten over three nodes. The first of a room comes first, so that its node is the room's home.
pub(super) struct Crowd {
    members: Vec<Member>,
    round: watch::Sender<Option<Instant>>,
    _running: JoinSet<()>,
}

/// A client.
pub(super) struct Member {
    /// Number of the node of its room.
    pub(super) home: usize,
    /// Number of its own node.
    pub(super) node: usize,
    seen: Arc<Seen>,
}

/// What a client has seen since the last fault.
#[derive(Default)]
struct Seen {
    /// When it was admitted, and when it had an answer to what it had said after the fault.
    times: Mutex<(Option<Instant>, Option<Instant>)>,
    joined: watch::Sender<bool>,
}

impl Crowd {
    /// Lets all join rooms whose names begin like this.
    pub(super) async fn gather(addresses: &[SocketAddr], peers: usize, prefix: &str) -> Self {
        let (rooms, count) = (peers.div_ceil(10), addresses.len());
        let (round, rounds) = watch::channel(None);
        let (mut members, mut running) = (Vec::new(), JoinSet::new());
        for peer in 0..peers {
            let (room, turn) = (peer % rooms, peer / rooms);
            let (home, node) = (room % count, (room + turn) % count);
            let seen = Arc::new(Seen::default());
            // As a balancer does: its own node, then the next ones.
            let mut nodes = addresses.to_vec();
            nodes.rotate_left(node);
            let name = format!("{prefix}-{room}");
            running.spawn(stay(nodes, name, rounds.clone(), Arc::clone(&seen)));
            members.push(Member { home, node, seen });
            if (peer + 1) % AT_ONCE == 0 || peer + 1 == rooms || peer + 1 == peers {
                join_all(members.iter().rev().take(AT_ONCE).map(|member| member.seen.there()))
                    .await;
            }
        }
        Self { members, round, _running: running }
    }

    /// Begins a round: all ask for an answer.
    pub(super) fn begin(&self) {
        for member in &self.members {
            *member.seen.times() = (None, None);
        }
        self.round.send_replace(Some(Instant::now()));
    }

    /// Waits until these have an answer; returns how long each has taken, to be admitted again or else to have it.
    /// Fails if it takes longer than `longest`.
    pub(super) async fn wait(
        &self,
        longest: Duration,
        which: impl Fn(&Member) -> bool,
        admitted: bool,
    ) -> Result<Waits, tokio::time::error::Elapsed> {
        let began = self.round.borrow().unwrap_or_else(Instant::now);
        let mut waits = Waits::new();
        for member in self.members.iter().filter(|member| which(member)) {
            let answered = async {
                loop {
                    let (joined, answered) = *member.seen.times();
                    let is = if admitted { joined } else { answered };
                    match is {
                        Some(at) => return at,
                        None => sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            let left = longest.saturating_sub(began.elapsed());
            waits.add(timeout(left, answered).await? - began);
        }
        Ok(waits)
    }
}

impl Seen {
    fn times(&self) -> std::sync::MutexGuard<'_, (Option<Instant>, Option<Instant>)> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn there(&self) {
        _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }
}

/// Stays in a room.
async fn stay(
    nodes: Vec<SocketAddr>,
    room: String,
    mut rounds: watch::Receiver<Option<Instant>>,
    seen: Arc<Seen>,
) {
    let mut attempt = 0;
    loop {
        let node = nodes[attempt % nodes.len()];
        match timeout(CONNECT_TIME, join(node, &room)).await {
            Ok(Ok(client)) => {
                seen.times().0.get_or_insert_with(Instant::now);
                seen.joined.send_replace(true);
                _ = talk(client, &mut rounds, &seen).await;
            }
            _ => attempt += 1,
        }
        sleep(BEFORE_RETRY).await;
    }
}

/// Asks for an answer in each round until there is one.
async fn talk(
    mut client: Client,
    rounds: &mut watch::Receiver<Option<Instant>>,
    seen: &Seen,
) -> std::io::Result<()> {
    let text = client.message("echo", "x", To::Peer(&client.id))?;
    // It is about this round that the answers are.
    let mut asked = None;
    loop {
        let wants = rounds.borrow_and_update().is_some() && seen.times().1.is_none();
        let round = *rounds.borrow();
        if wants && asked != round {
            client.send(text.clone()).await?;
            asked = round;
        }
        tokio::select! {
            text = client.next() => {
                if text?.contains("\"event\":\"echo\"") && asked == *rounds.borrow() {
                    seen.times().1.get_or_insert_with(Instant::now);
                }
            }
            _ = rounds.changed() => {}
            // What was lost is said once more.
            () = sleep(BEFORE_RETRY), if wants => asked = None,
        }
    }
}

const AT_ONCE: usize = 50;
const BEFORE_RETRY: Duration = Duration::from_millis(100);
/// Longest time until a client is in its room, or tries another node.
const CONNECT_TIME: Duration = Duration::from_secs(3);
