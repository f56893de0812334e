//! Nodes, servers and networks of a run.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::bed::Bed;
use super::nats::{Nats, SERVERS};
use super::node::TOKEN;
use super::process::Process;
use super::wall_clock::WallClock;
use crate::http;

pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) nats: Nats,
    nodes: Vec<Node>,
    folder: PathBuf,
    how: How,
}

/// How the nodes run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// For how many seconds a session holds, in place of the directory's time.
    pub(crate) hold: Option<u64>,
    /// Whether they write histories.
    pub(crate) history: bool,
    /// Time between two looks at a client, and for which its peer outlives it.
    pub(crate) heartbeat: Option<Duration>,
    /// Whether their wall clocks can be set.
    pub(crate) clocks: bool,
}

/// A node.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Its wall clock, if that can be set.
    pub(crate) clock: Option<WallClock>,
    /// Number of its processes so far.
    pub(crate) started: u64,
}

impl Stage {
    /// Starts three servers, and nodes with these names, whose [`hosts`] the bed has. Histories and logs go into the
    /// folder. They end with the calling thread.
    pub(crate) async fn start(
        bed: Bed,
        names: &[&'static str],
        folder: &Path,
        how: How,
    ) -> io::Result<Self> {
        let nats = Nats::start(&bed, folder)?;
        let mut nodes = Vec::new();
        for name in names {
            let host = bed.host(name);
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::new(&host.network, std::env::current_exe()?, log);
            let clock = how.clocks.then(|| folder.join(format!("{name}.clock")));
            let clock = clock.map(WallClock::create).transpose()?;
            if let Some(clock) = &clock {
                process = process.environment(clock.environment());
            }
            let address = SocketAddr::from((host.address, 8080));
            nodes.push(Node { name, process, address, clock, started: 0 });
        }
        let mut stage = Self { bed, nats, nodes, folder: folder.to_owned(), how };
        for node in 0..names.len() {
            stage.start_node(node)?;
        }
        stage.whole().await?;
        Ok(stage)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn node(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    pub(crate) fn start_node(&mut self, at: usize) -> io::Result<()> {
        let node = &mut self.nodes[at];
        let (name, number) = (node.name, node.started);
        node.started += 1;
        let path = |end: String| self.folder.join(end).display().to_string();
        let mut arguments = vec![
            "node".to_owned(),
            name.to_owned(),
            node.address.to_string(),
            format!("--nats={}", self.nats.urls()),
            format!("--cluster={CLUSTER}"),
            format!("--lock={}", path(format!("{name}.lock"))),
            format!("--liveness={}:{LIVENESS}", node.address.ip()),
        ];
        arguments.extend(self.how.hold.map(|hold| format!("--hold={hold}")));
        if self.how.history {
            arguments.push(format!("--history={}", path(format!("{name}.{number}.jsonl"))));
        }
        if let Some(heartbeat) = self.how.heartbeat {
            let seconds = heartbeat.as_secs();
            arguments.extend([format!("--heartbeat={seconds}"), format!("--grace={seconds}")]);
        }
        node.process.start(&arguments)
    }

    /// Waits until NATS has a leader, and each node a session.
    pub(crate) async fn whole(&mut self) -> io::Result<()> {
        let waiting = async {
            self.nats.led(CLUSTER).await?;
            for at in 0..self.nodes.len() {
                loop {
                    let node = &mut self.nodes[at];
                    if node.process.has_ended() {
                        return Err(io::Error::other(format!("{} has ended by itself", node.name)));
                    }
                    if self.facts(at).await.is_some_and(|facts| !facts["lease_ms"].is_null()) {
                        break;
                    }
                    sleep(BETWEEN_LOOKS).await;
                }
            }
            Ok(())
        };
        let whole = timeout(LONGEST, waiting).await;
        whole.map_err(|_| io::Error::other("the cluster is not whole again"))?
    }

    /// Waits until each node has had an answer of all others, so that the death of one is seen at once.
    pub(crate) async fn watched(&self) -> io::Result<()> {
        let waiting = async {
            for at in 0..self.nodes.len() {
                let all = self.nodes.len() - 1;
                while !self.facts(at).await.is_some_and(|facts| facts["watched"] == all) {
                    sleep(BETWEEN_LOOKS).await;
                }
            }
        };
        let watched = timeout(LONGEST, waiting).await;
        watched.map_err(|_| io::Error::other("the nodes do not answer each other"))
    }

    /// Returns what a node says of itself; none if it does not answer.
    pub(crate) async fn facts(&self, node: usize) -> Option<Value> {
        let answer = ask(self.nodes[node].address, "/facts").await.ok()?;
        serde_json::from_str(&answer).ok()
    }
}

/// Asks a node to do something by its admin routes.
pub(crate) async fn order(node: SocketAddr, path: &str, body: String) -> io::Result<()> {
    let path = format!("{path}?token={TOKEN}");
    let asking = http::ask(node, "POST", &path, ("application/json", body));
    timeout(LONGEST_ORDER, asking).await??;
    Ok(())
}

/// Returns the names of the hosts of nodes with these names, and of servers.
pub(crate) fn hosts(nodes: &[&'static str]) -> Vec<&'static str> {
    nodes.iter().chain(&SERVERS).copied().collect()
}

/// Asks a node, which must answer with 200 in time.
pub(crate) async fn ask(node: SocketAddr, path: &str) -> io::Result<String> {
    let asking = http::ask(node, "GET", path, ("application/json", String::new()));
    let answer = timeout(ANSWER, asking).await;
    let (_, body) = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(body)
}

/// Name of the cluster.
pub(crate) const CLUSTER: &str = "load";
/// Longest time for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest time until an order is carried out, or refused: a room has moved.
const LONGEST_ORDER: Duration = Duration::from_secs(20);
/// Port at which a node's process listens as long as it lives.
const LIVENESS: u16 = 7400;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Longest time until the cluster is whole again.
const LONGEST: Duration = Duration::from_secs(90);
