//! Metrics for Prometheus.
//!
//! Labels have few values; no names of peers and rooms are among them.

use std::collections::{BTreeMap, HashMap};

use callboard_supervision::{Status, TreeSnapshot};
use callboard_websocket::{ActorKind, Durations, NamedCounters, NamedGauges};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::admin::Admin;
use crate::metric_values::{Labels, counter, duration, family, gauge, gauges};

impl Admin {
    /// Returns all metrics in OpenMetrics 1.0.
    pub async fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("callboard");
        self.actors(&mut registry);
        if self.inner.webrtc.is_shown() {
            self.handshakes(&mut registry);
        }
        self.inner.webrtc.register(&mut registry).await;
        self.inner.nodes.register(&mut registry);
        self.sources(&mut registry);
        let streams = Gauge::<i64>::default();
        streams.set(i64::try_from(self.inner.streams.count()).unwrap_or(i64::MAX));
        registry.register("admin_streams", "Open streams of the supervision tree", streams);
        let uptime = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        uptime.set(self.inner.began.elapsed().as_secs_f64());
        registry.register_with_unit(
            "uptime",
            "Time since the admin routes were built",
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
        for status in ["starting", "running", "stopping", "restarting", "stopped"] {
            by_status.insert(("worker", status.to_owned()), 0);
            by_status.insert(("supervisor", status.to_owned()), 0);
        }
        let trees = self.inner.snapshots();
        trees.iter().for_each(|tree| count(tree, &mut by_status));
        for (name, (help, count)) in self.kinds(&trees) {
            registry.register(name, help, gauge(count));
        }
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
            "Restarts of actors after a failure",
            counter(tally.restarts),
        );
        registry.register(
            "actor_start_failures",
            "Starts of actors that failed",
            counter(tally.start_failures),
        );
        registry.register(
            "actors_abandoned",
            "Actors abandoned with the threads that they block",
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
    }

    fn handshakes(&self, registry: &mut Registry) {
        let tally = self.inner.tally();
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

    /// Returns how many actors of each kind run that a source names.
    fn kinds(&self, trees: &[TreeSnapshot]) -> BTreeMap<&'static str, (&'static str, i64)> {
        let kinds = self.inner.sources.iter().flat_map(|source| source.actors());
        let count = |kind: &ActorKind| {
            let is_kind = |type_name: &str| type_name.starts_with(kind.type_name);
            trees.iter().map(|tree| running(tree, &is_kind)).sum()
        };
        kinds.map(|kind| (kind.name, (kind.help, count(&kind)))).collect()
    }

    fn sources(&self, registry: &mut Registry) {
        if self.inner.sources.is_empty() {
            return;
        }
        let mut events: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut durations: BTreeMap<&'static str, (&'static str, Durations)> = BTreeMap::new();
        for source in &self.inner.sources {
            for (name, count) in source.events() {
                *events.entry(name).or_default() += count;
            }
            for measured in source.durations() {
                durations
                    .entry(measured.name)
                    .or_insert((measured.help, Durations::default()))
                    .1 += measured.durations;
            }
        }
        self.labelled(registry);
        for (name, (help, durations)) in durations {
            duration(registry, name, help, durations);
        }
        let open = ["opened", "ended"].map(|name| events.get(name).copied().unwrap_or(0));
        let sockets = i64::try_from(open[0].saturating_sub(open[1])).unwrap_or(i64::MAX);
        registry.register("websockets", "WebSockets of peers that are open", gauge(sockets));
        registry.register(
            "signaling_events",
            "Events of upgrade requests, WebSockets and peers",
            family("event", events),
        );
    }

    fn labelled(&self, registry: &mut Registry) {
        let all = self.inner.sources.iter().flat_map(|source| source.gauges());
        let mut by_name: BTreeMap<&'static str, NamedGauges> = BTreeMap::new();
        for gauges in all {
            by_name.entry(gauges.name).or_insert(gauges);
        }
        for (name, NamedGauges { help, label, values, .. }) in by_name {
            registry.register(name, help, gauges(label, values));
        }
        let all = self.inner.sources.iter().flat_map(|source| source.counters());
        let mut by_name: BTreeMap<&'static str, NamedCounters> = BTreeMap::new();
        for counters in all {
            by_name.entry(counters.name).or_insert(counters);
        }
        for (name, NamedCounters { help, label, values, .. }) in by_name {
            registry.register(name, help, family(label, values));
        }
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

const EXITS: [&str; 6] =
    ["normal", "shutdown", "error", "panic", "killed", "reached_max_restart_intensity"];
