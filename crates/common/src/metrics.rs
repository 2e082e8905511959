//! Metrics of the host itself, exposed as OpenMetrics 1.0 by `prometheus-client`.
//!
//! A registry of `prometheus-client` never forgets a family and prints series in random order. The
//! host starts and stops plugins at run time. [`Metrics`] therefore holds the series itself,
//! sorted, and lends them to the registry as a collector.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::{MetricType, counter, gauge, histogram};
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds for durations from a tenth of a millisecond to half a minute.
pub const SECONDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Suffix of the name of each counter.
const TOTAL: &str = "_total";

/// Number that only rises.
#[derive(Clone, Debug, Default)]
pub struct Counter(counter::Counter);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// Sets the counter to a count that is kept elsewhere. Prometheus reads a smaller number as a
    /// reset.
    pub fn follow(&self, count: u64) {
        self.0.inner().store(count, Relaxed);
    }

    /// Returns the count.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// Number that rises and falls.
#[derive(Clone, Debug, Default)]
pub struct Gauge(gauge::Gauge<f64, AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds `difference`, which may be negative.
    pub fn add(&self, difference: f64) {
        self.0.inc_by(difference);
    }

    /// Returns the value.
    pub fn value(&self) -> f64 {
        self.0.get()
    }
}

/// Counts of values per bucket: its own observations, or counts that are kept elsewhere.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    observed: histogram::Histogram,
    followed: Arc<Mutex<Option<Followed>>>,
}

/// Counts that are kept elsewhere.
#[derive(Debug)]
struct Followed {
    /// Upper bound and count of each bucket. The last bound is infinite.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            observed: histogram::Histogram::new(bounds.iter().copied()),
            followed: Arc::default(),
        }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.observed.observe(value);
    }

    /// Sets the histogram to counts that are kept elsewhere: the count of each bucket, the last one
    /// for all larger values, and the sum of the values. Prometheus reads smaller numbers as a
    /// reset. Own observations are not shown any more.
    pub fn follow(&self, counts: &[u64], sum: f64) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = counts.iter().copied().chain(repeat(0));
        let buckets = bounds.zip(counts).collect();
        *self.followed.lock() = Some(Followed { buckets, sum });
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match &*self.followed.lock() {
            Some(Followed { buckets, sum }) => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
            None => self.observed.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.observed.metric_type()
    }
}

#[derive(Clone, Debug)]
enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Cell {
    fn metric(&self) -> &dyn EncodeMetric {
        match self {
            Self::Counter(counter) => &counter.0,
            Self::Gauge(gauge) => &gauge.0,
            Self::Histogram(histogram) => histogram,
        }
    }

    fn kind(&self) -> MetricType {
        self.metric().metric_type()
    }
}

type LabelPairs = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Family {
    help: &'static str,
    series: BTreeMap<LabelPairs, Cell>,
}

/// Families by the name of their samples.
#[derive(Debug, Default)]
struct Families(Mutex<BTreeMap<&'static str, Family>>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, family) in self.0.lock().iter() {
            let Some(kind) = family.series.values().next().map(Cell::kind) else {
                continue;
            };
            // The encoder appends the suffix to each sample of a counter.
            let name = match kind {
                MetricType::Counter => name.strip_suffix(TOTAL).unwrap_or(name),
                _ => name,
            };
            let mut encoder = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, cell) in &family.series {
                cell.metric().encode(encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// All metrics of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Families>);

impl Metrics {
    /// Returns the counter with this name and these labels. Repeated calls return the same counter.
    /// The name ends in `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        debug_assert!(name.ends_with(TOTAL), "{name} does not end in {TOTAL}");
        match self.cell(name, help, labels, || Cell::Counter(Counter::default())) {
            Cell::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// Returns the gauge with this name and these labels. Repeated calls return the same gauge.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        match self.cell(name, help, labels, || Cell::Gauge(Gauge::default())) {
            Cell::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// Returns the histogram with this name and these labels. Repeated calls return the same
    /// histogram. Bounds are in ascending order.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        bounds: &'static [f64],
    ) -> Histogram {
        match self.cell(name, help, labels, || {
            Cell::Histogram(Histogram::new(bounds))
        }) {
            Cell::Histogram(histogram) => histogram,
            _ => Histogram::new(bounds),
        }
    }

    fn cell(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        make: impl Fn() -> Cell,
    ) -> Cell {
        debug_assert!(
            !help.contains(['\\', '\n', '"']),
            "{name}: the encoder does not escape help texts"
        );
        let mut families = self.0.0.lock();
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            series: BTreeMap::new(),
        });
        let made = make();
        if let Some(other) = family
            .series
            .values()
            .next()
            .filter(|other| other.kind() != made.kind())
        {
            // This is a programming error that any test of the caller finds. In production the
            // metric is left out, which is better than a family with two types.
            debug_assert!(false, "{name} is a {} already", other.kind().as_str());
            return made;
        }
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        family.series.entry(labels).or_insert(made).clone()
    }

    /// Drops the series of a family for which `keep` returns false.
    pub fn retain(&self, name: &str, keep: impl Fn(&[(&'static str, String)]) -> bool) {
        let mut families = self.0.0.lock();
        if let Some(family) = families.get_mut(name) {
            family.series.retain(|labels, _| keep(labels));
        }
    }

    /// Renders all metrics as OpenMetrics 1.0, sorted by name and labels.
    pub fn render(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&self.0)));
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _written = text::encode(&mut text, &registry);
        shorten_bounds(&text)
    }
}

/// Writes the bound of a bucket as `1` where the encoder writes `1.0`.
///
/// A label is text for Prometheus 2: queries for `le="1"` would find nothing any more. The encoder
/// writes this label first and escapes quotes within values, so `{le="` only starts a bound.
fn shorten_bounds(text: &str) -> String {
    const BOUND: &str = "{le=\"";
    let mut parts = text.split(BOUND);
    let mut shortened = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (bound, rest) = part.split_at(part.find('"').unwrap_or_default());
        shortened.push_str(BOUND);
        shortened.push_str(bound.strip_suffix(".0").unwrap_or(bound));
        shortened.push_str(rest);
    }
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics
            .counter("b_total", "Counted.", &[("topic", "a\"b\\c\nd")])
            .add(3);
        metrics
            .counter("b_total", "Counted.", &[("topic", "a\"b\\c\nd")])
            .increment();
        metrics.gauge("a", "Now.", &[]).set(f64::INFINITY);
        let histogram = metrics.histogram("c_seconds", "Took.", &[], &[0.5, 1.0]);
        for value in [0.25, 0.5, 2.0] {
            histogram.observe(value);
        }
        insta::assert_snapshot!(metrics.render(), @r#"
        # HELP a Now.
        # TYPE a gauge
        a inf
        # HELP b Counted.
        # TYPE b counter
        b_total{topic="a\"b\\c\nd"} 4
        # HELP c_seconds Took.
        # TYPE c_seconds histogram
        c_seconds_sum 2.75
        c_seconds_count 3
        c_seconds_bucket{le="0.5"} 2
        c_seconds_bucket{le="1"} 2
        c_seconds_bucket{le="+Inf"} 3
        # EOF
        "#);
    }

    #[test]
    fn a_histogram_that_follows_shows_counts_that_are_kept_elsewhere() {
        let metrics = Metrics::default();
        let labels = [("plugin", "{le=\"2.0\"}")];
        let histogram = metrics.histogram("c_seconds", "Took.", &labels, &[0.5, 10.0]);
        histogram.follow(&[1, 2, 3], 60.0);
        histogram.follow(&[2, 2, 3], 60.25);
        insta::assert_snapshot!(metrics.render(), @r#"
        # HELP c_seconds Took.
        # TYPE c_seconds histogram
        c_seconds_sum{plugin="{le=\"2.0\"}"} 60.25
        c_seconds_count{plugin="{le=\"2.0\"}"} 7
        c_seconds_bucket{le="0.5",plugin="{le=\"2.0\"}"} 2
        c_seconds_bucket{le="10",plugin="{le=\"2.0\"}"} 4
        c_seconds_bucket{le="+Inf",plugin="{le=\"2.0\"}"} 7
        # EOF
        "#);
    }

    #[test]
    fn a_family_without_series_is_not_shown() {
        let metrics = Metrics::default();
        for plugin in ["drain", "zscore"] {
            metrics.gauge("a", "Now.", &[("plugin", plugin)]).add(2.0);
        }
        metrics.retain("a", |labels| labels[0].1 == "drain");
        insta::assert_snapshot!(metrics.render(), @r#"
        # HELP a Now.
        # TYPE a gauge
        a{plugin="drain"} 2.0
        # EOF
        "#);
        metrics.retain("a", |_| false);
        assert_eq!(metrics.render(), "# EOF\n");
    }
}
