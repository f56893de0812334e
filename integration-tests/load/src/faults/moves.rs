//! Faults that cost nothing: a node is drained, a room goes elsewhere, a wall clock is set.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::suite::{BETWEEN_LOOKS, NODES, Suite, local_room};
use super::talker::Order;
use crate::cluster::stage::{ask, order};
use crate::cluster::wall_clock;

impl Suite {
    /// Drains a node, starts it again when its process has ended, and lets its own room come home.
    pub(super) async fn drain(&mut self, node: usize) -> io::Result<()> {
        let (name, address) = (NODES[node], self.stage.nodes()[node].address);
        order(address, "/cluster/drain", String::new()).await?;
        // As a balancer does, which asks whether the node is ready.
        while ask(address, "/readyz").await.is_ok() {
            sleep(BETWEEN_LOOKS).await;
        }
        self.balancer.set(name, false);
        let ended = timeout(LONGEST_DRAIN, self.stage.node(node).process.ends()).await;
        let status = ended.map_err(|_| io::Error::other(format!("{name} is not drained")))??;
        if !status.success() {
            return Err(io::Error::other(format!("{name} was drained, and ended with {status}")));
        }
        self.stage.start_node(node)?;
        self.stage.whole().await?;
        self.balancer.set(name, true);

        let room = local_room(name);
        self.move_to(&room, |_| node).await?;
        let before = self.order.send_replace(Order::Home);
        let home = async {
            while !self.views.are_at(&room, name) {
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let home = timeout(LONGEST_WAY, home).await;
        self.order.send_replace(before);
        home.map_err(|_| io::Error::other(format!("clients of {name} have not come back")))
    }

    /// Moves a room to the next node so many times.
    pub(super) async fn move_onward(&mut self, room: &str, times: usize) -> io::Result<()> {
        for _ in 0..times {
            self.move_to(room, |home| (home + 1) % NODES.len()).await?;
        }
        Ok(())
    }

    /// Moves a room from its home to another node. It may be refused for a while: one of its peers goes from one node
    /// to another, or its home is not known yet.
    async fn move_to(&self, room: &str, to: impl Fn(usize) -> usize) -> io::Result<()> {
        let moving = async {
            loop {
                let home = self.home(room).await;
                match home.map(|home| (home, to(home))) {
                    Some((home, to)) if home == to => return,
                    Some((home, to)) => {
                        let body = json!({
                            "path": format!("server/rooms/{room}"),
                            "fault": "move",
                            "to": NODES[to],
                        });
                        let address = self.stage.nodes()[home].address;
                        match order(address, "/tree/fault", body.to_string()).await {
                            Ok(()) => return,
                            Err(error) => log::info!("{room} has not moved: {error}"),
                        }
                    }
                    None => {}
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let moved = timeout(LONGEST_MOVE, moving).await;
        moved.map_err(|_| io::Error::other(format!("room {room:?} does not move")))
    }

    /// Returns the number of the node that runs a room.
    async fn home(&self, room: &str) -> Option<usize> {
        for at in 0..NODES.len() {
            let facts = self.stage.facts(at).await?;
            if facts["rooms"].as_array()?.iter().any(|one| one == room) {
                return Some(at);
            }
        }
        None
    }

    /// Sets the wall clock of a node, and after a while sets it right.
    pub(super) async fn set_clock(
        &mut self,
        node: usize,
        seconds: i64,
        time: u64,
    ) -> io::Result<()> {
        self.turn_clock(node, seconds).await?;
        sleep(Duration::from_millis(time)).await;
        self.turn_clock(node, 0).await
    }

    /// Sets a node's wall clock, and waits until the node sees it.
    async fn turn_clock(&mut self, node: usize, seconds: i64) -> io::Result<()> {
        if let Some(clock) = &self.stage.node(node).clock {
            clock.set(seconds)?;
        }
        let seen = async {
            loop {
                let facts = self.stage.facts(node).await;
                let seen = facts.and_then(|facts| facts["wall_clock_ms"].as_i64());
                let right = wall_clock::now() + seconds * 1_000;
                if seen.is_some_and(|seen| (seen - right).abs() < AT_MOST_WRONG_MS) {
                    return;
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let seen = timeout(LONGEST_MOVE, seen).await;
        seen.map_err(|_| io::Error::other(format!("the clock of {} was not set", NODES[node])))
    }
}

/// Longest time for a drain: that of the node, and some for its end.
const LONGEST_DRAIN: Duration = Duration::from_secs(90);
const LONGEST_MOVE: Duration = Duration::from_secs(60);
/// Longest time in which clients come back to their node.
const LONGEST_WAY: Duration = Duration::from_secs(60);
/// By how much a clock may be wrong that was set, in milliseconds: much less than by how much it is set.
const AT_MOST_WRONG_MS: i64 = 30_000;
