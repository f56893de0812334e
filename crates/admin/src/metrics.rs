//! Metrics for Prometheus.
//!
//! Labels have few values, which are known in advance; names are never among them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use callboard_supervision::{Status, TreeSnapshot};
use callboard_transport::mux::MuxCounters;
use callboard_websocket::Durations;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Admin;

/// Durations as a metric.
#[derive(Debug)]
struct DurationMetric(Durations);

impl EncodeMetric for DurationMetric {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let buckets: Vec<(f64, u64)> = self.0.buckets().collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

type Labels = Vec<(&'static str, String)>;

impl Admin {
    /// Returns all metrics in OpenMetrics 1.0.
    pub async fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("callboard");
        self.actors(&mut registry);
        self.connections(&mut registry).await;
        self.signaling(&mut registry);
        let streams = Gauge::<i64>::default();
        streams.set(i64::try_from(self.inner.streams.count()).unwrap_or(i64::MAX));
        registry.register("admin_streams", "Those who look at the stream of the tree", streams);
        let uptime = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        uptime.set(self.inner.began.elapsed().as_secs_f64());
        registry.register_with_unit(
            "uptime",
            "How long the admin surface is up",
            Unit::Seconds,
            uptime,
        );
        let mut text = String::new();
        // Writing to a string does not fail.
        _ = encode(&mut text, &registry);
        text
    }

    fn actors(&self, registry: &mut Registry) {
        let mut by_status: BTreeMap<(&'static str, String), i64> = BTreeMap::new();
        let (mut rooms, mut peers) = (0, 0);
        for status in ["starting", "running", "stopping", "restarting", "stopped"] {
            by_status.insert(("worker", status.to_owned()), 0);
            by_status.insert(("supervisor", status.to_owned()), 0);
        }
        for tree in self.inner.snapshots() {
            count(&tree, &mut by_status);
            rooms += running(&tree, &is_room);
            peers += running(&tree, &is_peer);
        }
        registry.register("rooms", "Rooms that run", gauge(rooms));
        registry.register(
            "peers",
            "Peers that run, also while their clients are away",
            gauge(peers),
        );
        let actors = Family::<Labels, Gauge>::default();
        for ((kind, status), count) in by_status {
            actors.get_or_create(&vec![("kind", kind.to_owned()), ("status", status)]).set(count);
        }
        registry.register("actors", "Actors in the supervision tree", actors);

        let tally = self.inner.tally();
        let exits = EXITS.map(|reason| (reason, tally.exits.get(reason).copied().unwrap_or(0)));
        registry.register("actor_exits", "Ends of actors", family("reason", exits));
        registry.register(
            "actor_starts",
            "Starts of actors, restarts included",
            counter(tally.starts),
        );
        registry.register(
            "actor_restarts",
            "Starts of actors that had failed",
            counter(tally.restarts),
        );
        registry.register(
            "actor_start_failures",
            "Starts of actors that failed",
            counter(tally.start_failures),
        );
        registry.register(
            "actors_abandoned",
            "Actors that were given up with their blocked threads",
            counter(tally.abandoned),
        );
        registry.register(
            "threads_blocked",
            "Actors that blocked their thread for a second or more",
            counter(tally.blocked),
        );
        registry.register(
            "tree_events_missed",
            "Events of the tree that came too fast to be counted",
            counter(tally.missed),
        );
        duration(
            registry,
            "recovery",
            "From the end of an actor that failed until the tree is whole again",
            self.inner.table().took.snapshot(),
        );
        if self.inner.connections.is_none() {
            return;
        }
        duration(
            registry,
            "handshake",
            "From the start of a handshake until its end",
            tally.handshakes_took.snapshot(),
        );
        let ended: HashMap<_, _> = tally.handshakes_ended.clone();
        let ended = EXITS.map(|reason| (reason, ended.get(reason).copied().unwrap_or(0)));
        registry.register(
            "handshakes_started",
            "Handshakes that began",
            counter(tally.handshakes_started),
        );
        registry.register(
            "handshakes_ended",
            "Ends of handshakes; one that fails by itself ends normally too",
            family("reason", ended),
        );
    }

    async fn connections(&self, registry: &mut Registry) {
        let Some(connections) = &self.inner.connections else { return };
        let all = self.inner.details.all(connections).await;
        let states = Family::<Labels, Gauge>::default();
        for state in STATES {
            let count = all.by_name.values().filter(|one| one.state.name() == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            states.get_or_create(&vec![("state", state.to_owned())]).set(count);
        }
        registry.register("peer_connections", "Peer connections", states);
        let running = Gauge::<i64>::default();
        running.set(
            i64::try_from(connections.handshakes().snapshot().children.len()).unwrap_or(i64::MAX),
        );
        registry.register("handshakes", "Handshakes under way", running);
        let directions =
            |sent, received| family("direction", [("sent", sent), ("received", received)]);
        registry.register_with_unit(
            "data_channel",
            "Messages' bytes in data channels, as of the last look at each connection",
            Unit::Bytes,
            directions(all.data_sent, all.data_received),
        );

        let sum =
            |of: fn(&MuxCounters) -> u64| connections.mux_counters().iter().map(of).sum::<u64>();
        registry.register(
            "udp_datagrams",
            "Datagrams through the UDP ports",
            directions(sum(|it| it.sent), sum(|it| it.received)),
        );
        registry.register_with_unit(
            "udp",
            "Bytes in the datagrams through the UDP ports",
            Unit::Bytes,
            directions(sum(|it| it.sent_bytes), sum(|it| it.received_bytes)),
        );
        let dropped = [
            ("unclassified", sum(|it| it.unclassified)),
            ("malformed_stun", sum(|it| it.malformed_stun)),
            ("unknown_ufrag", sum(|it| it.unknown_ufrag)),
            ("unknown_transaction", sum(|it| it.unknown_transaction)),
            ("unknown_source", sum(|it| it.unknown_source)),
            ("inbox_full", sum(|it| it.inbox_full)),
            ("send_buffer_full", sum(|it| it.send_buffer_full)),
            ("too_long", sum(|it| it.too_long)),
            ("no_socket", sum(|it| it.no_socket)),
            ("system_error", sum(|it| it.system_errors)),
        ];
        registry.register(
            "udp_datagrams_dropped",
            "Datagrams that the UDP ports dropped",
            family("reason", dropped),
        );
    }

    fn signaling(&self, registry: &mut Registry) {
        if self.inner.counters.is_empty() {
            return;
        }
        let mut events: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (name, count) in self.inner.counters.iter().flat_map(|counters| counters.snapshot()) {
            *events.entry(name).or_default() += count;
        }
        let (mut joins, mut hooks) = (Durations::default(), Durations::default());
        for counters in &self.inner.counters {
            joins += counters.joins.snapshot();
            hooks += counters.hooks.snapshot();
        }
        let join = "From the request for a WebSocket until the room has let the peer in";
        duration(registry, "join", join, joins);
        let hook = "From the call of a hook until its outcome";
        duration(registry, "hook", hook, hooks);
        let open = ["opened", "ended"].map(|name| events.get(name).copied().unwrap_or(0));
        let sockets = Gauge::<i64>::default();
        sockets.set(i64::try_from(open[0].saturating_sub(open[1])).unwrap_or(i64::MAX));
        registry.register("websockets", "WebSockets of peers that are open", sockets);
        registry.register(
            "signaling_events",
            "What has happened at the door and behind it",
            family("event", events),
        );
    }
}

fn count(tree: &TreeSnapshot, by_status: &mut BTreeMap<(&'static str, String), i64>) {
    let kind = match tree.kind {
        callboard_supervision::ChildKind::Supervisor => "supervisor",
        callboard_supervision::ChildKind::Worker => "worker",
    };
    *by_status.entry((kind, tree.status.to_string())).or_default() += 1;
    tree.children.iter().for_each(|child| count(child, by_status));
}

/// Returns how many actors of a kind are running.
fn running(tree: &TreeSnapshot, is_kind: &impl Fn(&str) -> bool) -> i64 {
    let here = tree.status == Status::Running && is_kind(tree.type_name);
    i64::from(here) + tree.children.iter().map(|child| running(child, is_kind)).sum::<i64>()
}

fn is_room(type_name: &str) -> bool {
    type_name.starts_with("callboard_room_supervisor::actor::RoomActor")
}

fn is_peer(type_name: &str) -> bool {
    type_name.starts_with("callboard_signaling::actor::PeerActor<")
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn duration(registry: &mut Registry, name: &str, help: &str, durations: Durations) {
    registry.register_with_unit(
        format!("{name}_duration"),
        help,
        Unit::Seconds,
        DurationMetric(durations),
    );
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn family(
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Family<Labels, Counter> {
    let family = Family::<Labels, Counter>::default();
    for (name, value) in values {
        family.get_or_create(&vec![(label, name.to_owned())]).inc_by(value);
    }
    family
}

const EXITS: [&str; 6] =
    ["normal", "shutdown", "error", "panic", "killed", "reached_max_restart_intensity"];
const STATES: [&str; 6] = ["new", "connecting", "connected", "disconnected", "failed", "closed"];
