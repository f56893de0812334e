//! Metrics that a route reports, for a page or an exporter to show.

use crate::counters::SocketCounters;
use crate::histogram::Durations;

/// Source of metrics: counts events, measures durations, knows kinds of actors.
pub trait MetricSource: Send + Sync + 'static {
    /// Returns the counted events, each with its name. `opened` and `ended` are those of WebSockets.
    fn events(&self) -> Vec<(&'static str, u64)>;

    /// Returns the measured durations. Default: none.
    fn durations(&self) -> Vec<NamedDurations> {
        Vec::new()
    }

    /// Returns the kinds of actors whose number is worth a metric. Default: none.
    fn actors(&self) -> Vec<ActorKind> {
        Vec::new()
    }

    /// Returns further counted events. Default: none.
    fn counters(&self) -> Vec<NamedCounters> {
        Vec::new()
    }

    /// Returns current numbers. Default: none.
    fn gauges(&self) -> Vec<NamedGauges> {
        Vec::new()
    }
}

/// Durations of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedDurations {
    /// Name of the metric, without a unit.
    pub name: &'static str,
    /// What was measured, in a sentence without a full stop.
    pub help: &'static str,
    /// The durations.
    pub durations: Durations,
}

/// A kind of actors, counted while they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorKind {
    /// Name of the metric.
    pub name: &'static str,
    /// What is counted, in a sentence without a full stop.
    pub help: &'static str,
    /// How the names of their Rust types begin.
    pub type_name: &'static str,
}

/// Current numbers of one kind, each with a label. If several sources have some of one name, those of the first are
/// shown: they may see the same, as routes do that share their rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedGauges {
    /// Name of the metric.
    pub name: &'static str,
    /// What is counted, in a sentence without a full stop.
    pub help: &'static str,
    /// Name of the label.
    pub label: &'static str,
    /// The numbers, each with its value of the label.
    pub values: Vec<(&'static str, u64)>,
}

/// Counted events of one kind, each with a label. If several sources have some of one name, those of the first are
/// shown, as with [gauges](NamedGauges).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCounters {
    /// Name of the metric, without `_total`.
    pub name: &'static str,
    /// What is counted, in a sentence without a full stop.
    pub help: &'static str,
    /// Name of the label.
    pub label: &'static str,
    /// The counts, each with its value of the label.
    pub values: Vec<(&'static str, u64)>,
}

impl MetricSource for SocketCounters {
    fn events(&self) -> Vec<(&'static str, u64)> {
        self.snapshot().collect()
    }
}
