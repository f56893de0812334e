//! Values of metrics, as prometheus-client wants them.

use std::fmt;

use callboard_websocket::Durations;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub(crate) type Labels = Vec<(&'static str, String)>;

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

pub(crate) fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

pub(crate) fn duration(registry: &mut Registry, name: &str, help: &str, durations: Durations) {
    registry.register_with_unit(
        format!("{name}_duration"),
        help,
        Unit::Seconds,
        DurationMetric(durations),
    );
}

pub(crate) fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

pub(crate) fn gauges(
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (name, value) in values {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        family.get_or_create(&vec![(label, name.to_owned())]).set(value);
    }
    family
}

pub(crate) fn family(
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Family<Labels, Counter> {
    let family = Family::<Labels, Counter>::default();
    for (name, value) in values {
        family.get_or_create(&vec![(label, name.to_owned())]).inc_by(value);
    }
    family
}
