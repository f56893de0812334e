//! Metrics of a node and its lines. The label `node` is the name of another node; there are as many as nodes.

use std::sync::atomic::AtomicU64;

use callboard_cluster::{Cluster, LineFacts, Lines, SessionState};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metric_values::{Labels, counter, family, gauge, gauges};

type Seconds = Gauge<f64, AtomicU64>;
/// Count of what has happened on the lines to a node.
type Count = fn(&LineFacts) -> u64;

pub(super) fn register(cluster: &Cluster, registry: &mut Registry) {
    let facts = cluster.facts();
    let lease = Seconds::default();
    lease.set(facts.lease_remaining.unwrap_or_default().as_secs_f64());
    registry.register_with_unit(
        "cluster_lease_remaining",
        "Time for which the node's session holds if it is not renewed; 0 without a session",
        Unit::Seconds,
        lease,
    );
    let renewal = Seconds::default();
    renewal.set(facts.renewal.unwrap_or_default().as_secs_f64());
    registry.register_with_unit(
        "cluster_renewal",
        "Time that the engine took for the last renewal of the session that it has answered",
        Unit::Seconds,
        renewal,
    );
    registry.register(
        "cluster_engine_up",
        "Whether the engine, such as NATS, has answered the last call of this node",
        gauge(i64::from(facts.engine_up)),
    );
    registry.register(
        "cluster_nodes",
        "Nodes whose sessions run as far as this node knows, itself included, by their states",
        gauges("state", states(cluster)),
    );
    let claims = [
        ("granted", facts.claims_granted),
        ("elsewhere", facts.claims_elsewhere),
        ("unavailable", facts.claims_unavailable),
    ];
    registry.register(
        "cluster_claims",
        "Requests for rooms, by what became of them",
        family("result", claims),
    );
    registry.register("cluster_lapses", "Sessions that have ended", counter(facts.lapses));
    registry.register(
        "cluster_yields",
        "Rooms lost to other nodes since the directory had forgotten them",
        counter(facts.yields),
    );
    registry.register(
        "cluster_seals",
        "Sessions of other processes that this one has ended, by what proves that these are dead",
        family(
            "proof",
            [
                ("silence", facts.seals),
                ("incarnation", facts.replacements),
                ("refusal", facts.refusals),
            ],
        ),
    );
    registry.register(
        "cluster_watched_nodes",
        "Nodes whose processes have answered this one, so that their death is seen at once",
        gauge(i64::try_from(facts.watched).unwrap_or(i64::MAX)),
    );
    if let Some(lines) = cluster.lines() {
        register_lines(&lines, registry);
    }
}

/// Returns the numbers of nodes by the states of their sessions.
fn states(cluster: &Cluster) -> [(&'static str, u64); 2] {
    let others = cluster.nodes().into_iter().map(|node| node.state == SessionState::Draining);
    let own = cluster.lease().map(|_| cluster.is_draining());
    let all: Vec<bool> = others.chain(own).collect();
    let draining = all.iter().filter(|drains| **drains).count() as u64;
    [("up", all.len() as u64 - draining), ("draining", draining)]
}

fn register_lines(lines: &Lines, registry: &mut Registry) {
    let all = lines.facts();
    let gauges = |value: fn(&LineFacts) -> usize| {
        let family = Family::<Labels, Gauge>::default();
        for line in &all {
            family.get_or_create(&to(line)).set(i64::try_from(value(line)).unwrap_or(i64::MAX));
        }
        family
    };
    let counters = |values: &[(Option<&'static str>, Count)]| {
        let family = Family::<Labels, Counter>::default();
        for line in &all {
            for (direction, value) in values {
                let mut labels = to(line);
                labels.extend(direction.map(|direction| ("direction", direction.to_owned())));
                family.get_or_create(&labels).inc_by(value(line));
            }
        }
        family
    };
    registry.register(
        "cluster_line_up",
        "Whether a line to the node is up",
        gauges(|line| usize::from(line.process.is_some())),
    );
    registry.register(
        "cluster_line_frames",
        "Frames on lines, each counted once",
        counters(&[
            (Some("sent"), |line| line.frames_sent),
            (Some("received"), |line| line.frames_received),
        ]),
    );
    registry.register_with_unit(
        "cluster_line",
        "Bytes in the frames on lines",
        Unit::Bytes,
        counters(&[
            (Some("sent"), |line| line.bytes_sent),
            (Some("received"), |line| line.bytes_received),
        ]),
    );
    registry.register(
        "cluster_line_resends",
        "Frames that were sent again",
        counters(&[(None, |line| line.resends)]),
    );
    registry.register(
        "cluster_line_stale_frames",
        "Frames of earlier lines, which were dropped",
        counters(&[(None, |line| line.stale_frames)]),
    );
    registry.register(
        "cluster_line_downs",
        "Lines that have ended",
        counters(&[(None, |line| line.downs)]),
    );
    registry.register(
        "cluster_line_backlog_frames",
        "Frames that the node has not acknowledged",
        gauges(|line| line.backlog_frames),
    );
    registry.register_with_unit(
        "cluster_line_backlog",
        "Bytes that the node has not acknowledged",
        Unit::Bytes,
        gauges(|line| line.backlog_bytes),
    );
    let round_trips = Family::<Labels, Seconds>::default();
    for line in &all {
        if let Some(time) = line.round_trip_time {
            round_trips.get_or_create(&to(line)).set(time.as_secs_f64());
        }
    }
    registry.register_with_unit(
        "cluster_line_round_trip",
        "Time from here to the node and back, as of the last measurement",
        Unit::Seconds,
        round_trips,
    );
    registry.register(
        "cluster_datagrams_malformed",
        "Datagrams of other nodes that could not be read",
        counter(lines.malformed()),
    );
}

fn to(line: &LineFacts) -> Labels {
    vec![("node", line.node.to_string())]
}
