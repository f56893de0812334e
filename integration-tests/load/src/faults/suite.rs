//! The faults that hit the nodes, the servers and the networks between them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use integration_tests::history::{Event, Recorder};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::SHARED;
use super::balancer::Balancer;
use super::plan::Fault;
use super::talker::Order;
use super::views::Views;
use crate::client::Client;
use crate::cluster::bed::Bed;
use crate::cluster::nats::SERVERS;
use crate::cluster::stage::{CLUSTER, How, Stage, hosts};
use crate::protocol::{Endpoint, Protocol};

/// Names of the nodes, and of their hosts.
pub(super) const NODES: [&str; 3] = ["a1", "b2", "c3"];

pub(super) struct Suite {
    pub(super) stage: Stage,
    /// What the clients do, and know, and where they are sent.
    pub(super) order: watch::Sender<Order>,
    pub(super) views: Views,
    pub(super) balancer: Balancer,
    hold: u64,
    recorder: Recorder,
    faults: u64,
}

/// Numbers of things that must not become more, by the process and what they are.
pub(super) type Counts = BTreeMap<(&'static str, &'static str), u64>;

impl Suite {
    pub(super) async fn start(
        folder: &Path,
        hold: u64,
        wait: Duration,
        recorder: Recorder,
    ) -> io::Result<Self> {
        // Clients that are gone are noticed, and have left, in less than that.
        let heartbeat = Some((wait / 5).max(Duration::from_secs(1)));
        let how = How { hold: Some(hold), history: true, heartbeat, clocks: true };
        let bed = Bed::new(&hosts(&NODES));
        let stage = Stage::start(bed, &NODES, folder, how).await?;
        let order = watch::Sender::new(Order::Talk);
        let (views, balancer) = (Views::default(), Balancer::default());
        Ok(Self { stage, order, views, balancer, hold, recorder, faults: 0 })
    }

    /// Opens some rooms at each node, and leaves them again: threads and connections that a node keeps are there then.
    pub(super) async fn warm(&self) -> io::Result<()> {
        for node in self.stage.nodes() {
            let endpoint = Endpoint { protocol: Protocol::Callboard, address: node.address };
            for number in 0..4 {
                let room = format!("warm-{}-{number}", node.name);
                Client::join(endpoint, &room).await?.close().await?;
            }
        }
        // Each node follows the bucket with one.
        let watched = async {
            while self.stage.nats.consumers(CLUSTER).await != Some(NODES.len() as u64) {
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let watched = timeout(LONGEST_START, watched).await;
        watched.map_err(|_| io::Error::other("the nodes do not follow the bucket"))
    }

    /// Returns the numbers of descriptors of the nodes that were never killed, and of consumers of the bucket.
    pub(super) async fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for node in self.stage.nodes().iter().filter(|node| node.started == 1) {
            let folder = node.process.id().map(|id| format!("/proc/{id}/fd"));
            if let Some(Ok(descriptors)) = folder.map(std::fs::read_dir) {
                counts.insert((node.name, "descriptors"), descriptors.count() as u64);
            }
        }
        if let Some(consumers) = self.stage.nats.consumers(CLUSTER).await {
            counts.insert(("nats", "consumers"), consumers);
        }
        counts
    }

    /// Lets a fault happen, and waits until it is over and the cluster whole again.
    pub(super) async fn suffer(&mut self, fault: Fault) -> io::Result<()> {
        if fault.kind().is_gentle() {
            self.rest().await?;
        }
        self.faults += 1;
        let id = self.faults;
        let hit = fault.node().map(|node| NODES[node]);
        let spares = NODES.into_iter().filter(|name| !(fault.hits_clients() && hit == Some(*name)));
        let event = Event::Fault {
            id,
            kind: fault.kind(),
            nodes: hit.into_iter().map(str::to_owned).collect(),
            spares: spares.map(local_room).collect(),
            says: fault.to_string(),
        };
        self.recorder.record(event);
        if fault.kind().is_gentle() {
            self.record_sessions().await;
        }
        self.inflict(fault).await?;
        self.stage.whole().await?;
        if fault.kind().is_gentle() {
            self.record_sessions().await;
        }
        self.recorder.record(Event::Healed { id });
        Ok(())
    }

    /// Waits until each node has renewed its session since the last fault, and has its rooms: a session may end for
    /// that soon after it is over, and a room that is not held goes to no other node.
    async fn rest(&self) -> io::Result<()> {
        let fresh = self.hold * 700;
        let rested = async {
            for at in 0..NODES.len() {
                let rests = |facts: Value| {
                    facts["lease_ms"].as_u64().is_some_and(|lease| lease >= fresh)
                        && facts["shut"] == 0
                };
                while !self.stage.facts(at).await.is_some_and(rests) {
                    sleep(BETWEEN_LOOKS).await;
                }
            }
        };
        let rested = timeout(LONGEST_START, rested).await;
        rested.map_err(|_| io::Error::other("the nodes do not renew their sessions"))
    }

    /// Writes how many sessions of each node have ended.
    async fn record_sessions(&self) {
        for (at, node) in NODES.into_iter().enumerate() {
            if let Some(ended) = self.stage.facts(at).await.and_then(|it| it["lapses"].as_u64()) {
                self.recorder.record(Event::Sessions { node: node.to_owned(), ended });
            }
        }
    }

    async fn inflict(&mut self, fault: Fault) -> io::Result<()> {
        let pause = async |time| sleep(Duration::from_millis(time)).await;
        let stage = &mut self.stage;
        match fault {
            Fault::Kill(node) => {
                stage.node(node).process.kill().await?;
                stage.start_node(node)?;
            }
            Fault::KillForLong(node) => {
                stage.node(node).process.kill().await?;
                pause(self.hold * 1_500).await;
                stage.start_node(node)?;
            }
            Fault::Pause(node, time) => {
                stage.node(node).process.signal(Signal::SIGSTOP)?;
                pause(time).await;
                stage.node(node).process.signal(Signal::SIGCONT)?;
            }
            Fault::Unplug(node, time) => {
                stage.bed.link(NODES[node], false);
                pause(time).await;
                stage.bed.link(NODES[node], true);
            }
            Fault::CutFromNats(node, time) => {
                stage.bed.cut(&SERVERS, &[NODES[node]]);
                cut(stage, &[NODES[node]], &SERVERS, time).await;
            }
            Fault::Mute(node, time) => cut(stage, &[NODES[node]], &SERVERS, time).await,
            Fault::Deafen(node, time) => cut(stage, &SERVERS, &[NODES[node]], time).await,
            Fault::KillLeader(time) => {
                let leader = stage.nats.led(CLUSTER).await?;
                stage.nats.server(leader).process.kill().await?;
                pause(time).await;
                stage.nats.server(leader).start()?;
            }
            Fault::PauseLeader(time) => {
                let leader = stage.nats.led(CLUSTER).await?;
                stage.nats.server(leader).process.signal(Signal::SIGSTOP)?;
                pause(time).await;
                stage.nats.server(leader).process.signal(Signal::SIGCONT)?;
            }
            Fault::CutLeader(time) => {
                let leader = stage.nats.led(CLUSTER).await?;
                let others: Vec<&str> =
                    SERVERS.into_iter().filter(|name| *name != SERVERS[leader]).collect();
                stage.bed.cut(&others, &[SERVERS[leader]]);
                cut(stage, &[SERVERS[leader]], &others, time).await;
            }
            Fault::OneWay(from, to, time) => {
                cut(stage, &[SERVERS[from]], &[SERVERS[to]], time).await;
            }
            Fault::KillNats(time) => {
                for server in stage.nats.servers() {
                    server.process.kill().await?;
                }
                pause(time).await;
                stage.nats.servers().try_for_each(|server| server.start())?;
            }
            Fault::DeleteBucket => {
                delete_bucket(&stage.nats.urls()).await?;
            }
            Fault::Drain(node) => self.drain(node).await?,
            Fault::Move(room, times) => self.move_onward(SHARED[room], times).await?,
            Fault::SetClock(node, seconds, time) => self.set_clock(node, seconds, time).await?,
        }
        Ok(())
    }
}

async fn cut(stage: &Stage, from: &[&str], to: &[&str], time: u64) {
    stage.bed.cut(from, to);
    sleep(Duration::from_millis(time)).await;
    stage.bed.heal();
}

/// Deletes the bucket. While NATS elects leaders it does not answer: it is asked again then.
async fn delete_bucket(servers: &str) -> io::Result<()> {
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let nats = jetstream::new(async_nats::connect(servers).await.map_err(io::Error::other)?);
    let deleting = async {
        while let Err(error) = nats.delete_key_value(format!("callboard_{CLUSTER}")).await {
            log::info!("the bucket is not deleted yet: {error}");
            sleep(BETWEEN_LOOKS).await;
        }
    };
    Ok(timeout(LONGEST_DELETION, deleting).await?)
}

/// Returns the room whose clients are all at one node.
pub(super) fn local_room(node: &str) -> String {
    format!("local-{node}")
}

pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
const LONGEST_DELETION: Duration = Duration::from_secs(60);
const LONGEST_START: Duration = Duration::from_secs(60);
