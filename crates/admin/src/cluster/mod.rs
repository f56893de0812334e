//! The cluster that the server is a node of: its metrics, and questions to its other nodes.

mod metrics;
mod moves;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callboard_cluster::{Cluster, IncomingRequests, NodeId, Presence, Requests, Tracked};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub(crate) use self::moves::Moves;

/// Nodes of the cluster, if there is one.
#[derive(Default)]
pub(crate) struct Nodes {
    cluster: Option<Cluster>,
    /// What this node shows of the others, and they of it.
    all: Option<AllNodes>,
    /// Faults of this node as a whole that are allowed.
    faults: String,
    /// How rooms are moved, if they may be.
    moves: Option<Moves>,
    /// Since when nodes have not answered.
    silent: Mutex<HashMap<NodeId, Instant>>,
}

/// Nodes that show each other.
struct AllNodes {
    requests: Requests,
    /// Which they are.
    presence: Presence,
    _here: Tracked,
}

/// Questions of other nodes.
pub(crate) type Questions = IncomingRequests;

/// Another node, and the faults of it as a whole that it allows.
pub(crate) struct OtherNode {
    node: NodeId,
    faults: String,
}

impl OtherNode {
    pub(crate) fn name(&self) -> &str {
        self.node.as_str()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        split(&self.faults)
    }
}

impl Nodes {
    pub(crate) fn show(&mut self, cluster: &Cluster) {
        self.cluster = Some(cluster.clone());
    }

    /// Begins to answer other nodes, and to ask them. Returns what they ask.
    /// Tells them which faults of this node as a whole are allowed.
    pub(crate) fn connect(&mut self, faults: Vec<&'static str>) -> Option<Questions> {
        self.faults = faults.join(" ");
        match self.cluster.as_ref().map(|cluster| AllNodes::connect(cluster, &self.faults)) {
            Some(Ok((all, questions))) => {
                self.all = Some(all);
                Some(questions)
            }
            Some(Err(error)) => {
                log::error!("other nodes are not shown: {error}");
                None
            }
            None => {
                log::error!("other nodes are not shown: no cluster was given");
                None
            }
        }
    }

    /// Returns the name of this node, if all nodes are shown.
    pub(crate) fn here(&self) -> Option<&str> {
        _ = self.all.as_ref()?;
        self.cluster.as_ref().map(|cluster| cluster.node().as_str())
    }

    /// Returns the other nodes that show each other, in the order of their names.
    pub(crate) fn others(&self) -> Vec<OtherNode> {
        let present = self.all.as_ref().map(|all| all.presence.all()).unwrap_or_default();
        let here = self.cluster.as_ref().map(Cluster::node);
        let others = present.into_iter().filter(|it| Some(&it.node) != here);
        // A node that was replaced may be there twice for a moment.
        let others: BTreeMap<_, _> = others.map(|it| (it.node, it.meta)).collect();
        let faults = |meta: &[u8]| String::from_utf8_lossy(meta).into_owned();
        let others = others.into_iter();
        others.map(|(node, meta)| OtherNode { node, faults: faults(&meta) }).collect()
    }

    /// Returns the faults of this node as a whole that are allowed.
    pub(crate) fn faults(&self) -> Vec<String> {
        split(&self.faults)
    }

    pub(crate) fn cut_off(&self, time: Duration) {
        if let Some(cluster) = &self.cluster {
            cluster.cut_off(time);
        }
    }

    /// Asks a node; returns its answer, or for how long it has given none.
    pub(crate) async fn ask(
        &self,
        node: &OtherNode,
        question: &str,
        within: Duration,
    ) -> Result<Vec<u8>, Duration> {
        let began = Instant::now();
        let answer = match &self.all {
            Some(all) => all.requests.ask(&node.node, question.as_bytes(), within).await.ok(),
            None => None,
        };
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer {
            silent.remove(&node.node);
            return Ok(answer);
        }
        if silent.len() >= MOST_SILENT {
            // Of nodes that are gone for good.
            silent.clear();
        }
        Err(silent.entry(node.node.clone()).or_insert(began).elapsed())
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        if let Some(cluster) = &self.cluster {
            metrics::register(cluster, registry);
        }
    }
}

impl AllNodes {
    fn connect(cluster: &Cluster, faults: &str) -> Result<(Self, Questions), Box<dyn Error>> {
        let lines = cluster.lines().ok_or("the cluster has no wire")?;
        let (requests, questions) = lines.requests(SERVICE)?;
        let presence = cluster.presence(SERVICE)?;
        let here = presence.track(cluster.node().as_str(), faults.to_owned())?;
        Ok((Self { requests, presence, _here: here }, questions))
    }
}

fn split(faults: &str) -> Vec<String> {
    faults.split_whitespace().map(str::to_owned).collect()
}

/// Name of the service on the lines, and of the presence of the nodes that have it.
const SERVICE: &str = "callboard-admin";
/// Nodes whose silence is remembered.
const MOST_SILENT: usize = 1_024;
