//! The host's own metrics, in Prometheus's text format 0.0.4. Registering takes a lock, counting
//! does not.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds in seconds, for durations from a tenth of a millisecond to half a minute.
pub const SECONDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Number that only rises.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Sets the counter to a count that is kept elsewhere. Prometheus reads a smaller number as a
    /// reset.
    pub fn follow(&self, count: u64) {
        self.0.store(count, Relaxed);
    }

    /// Returns the count.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Number that rises and falls.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Adds `difference`, which may be negative.
    pub fn add(&self, difference: f64) {
        add_f64(&self.0, difference);
    }

    /// Returns the value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// Counts of values per bucket.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One count per bound, and a last one for all larger values.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets {
            bounds,
            counts,
            sum: AtomicU64::new(0),
        }))
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[at].fetch_add(1, Relaxed);
        add_f64(&self.0.sum, value);
    }

    /// Sets the histogram to counts that are kept elsewhere: the count of each bucket, the last one
    /// for all larger values, and the sum of the values. Prometheus reads smaller numbers as a
    /// reset.
    pub fn follow(&self, counts: &[u64], sum: f64) {
        for (bucket, count) in self.0.counts.iter().zip(counts) {
            bucket.store(*count, Relaxed);
        }
        self.0.sum.store(sum.to_bits(), Relaxed);
    }
}

fn add_f64(bits: &AtomicU64, difference: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + difference).to_bits());
    // The closure always returns a value, so this cannot fail.
    let _ = bits.fetch_update(Relaxed, Relaxed, sum);
}

#[derive(Clone, Debug)]
enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Cell {
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

type LabelPairs = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Family {
    help: &'static str,
    series: BTreeMap<LabelPairs, Cell>,
}

/// All metrics of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, Family>>>);

impl Metrics {
    /// Returns the counter with this name and these labels. Repeated calls return the same counter.
    /// The name ends in `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
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
        let mut families = self.0.lock();
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
            debug_assert!(false, "{name} is a {} already", other.kind());
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
        let mut families = self.0.lock();
        if let Some(family) = families.get_mut(name) {
            family.series.retain(|labels, _| keep(labels));
        }
    }

    /// Renders the text format, sorted by name.
    pub fn render(&self) -> String {
        let families = self.0.lock();
        let mut text = String::new();
        for (name, family) in families.iter() {
            render_family(&mut text, name, family);
        }
        text
    }
}

// Writing to a `String` cannot fail.
fn render_family(text: &mut String, name: &str, family: &Family) {
    let Some(first) = family.series.values().next() else {
        return;
    };
    let _ = writeln!(
        text,
        "# HELP {name} {}",
        family.help.replace('\\', "\\\\").replace('\n', "\\n")
    );
    let _ = writeln!(text, "# TYPE {name} {}", first.kind());
    for (labels, cell) in &family.series {
        match cell {
            Cell::Counter(counter) => {
                let _ = writeln!(text, "{name}{} {}", braces(labels, None), counter.value());
            }
            Cell::Gauge(gauge) => {
                let _ = writeln!(
                    text,
                    "{name}{} {}",
                    braces(labels, None),
                    number(gauge.value())
                );
            }
            Cell::Histogram(Histogram(buckets)) => {
                let mut count = 0;
                let bounds = buckets.bounds.iter().copied().chain([f64::INFINITY]);
                for (bound, bucket) in bounds.zip(&buckets.counts) {
                    count += bucket.load(Relaxed);
                    let _ = writeln!(text, "{name}_bucket{} {count}", braces(labels, Some(bound)));
                }
                let sum = f64::from_bits(buckets.sum.load(Relaxed));
                let _ = writeln!(text, "{name}_sum{} {}", braces(labels, None), number(sum));
                let _ = writeln!(text, "{name}_count{} {count}", braces(labels, None));
            }
        }
    }
}

fn braces(labels: &LabelPairs, bound: Option<f64>) -> String {
    let escape = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .chain(bound.map(|bound| format!("le=\"{}\"", number(bound))))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

/// Formats a number for Prometheus.
pub fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
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
        a +Inf
        # HELP b_total Counted.
        # TYPE b_total counter
        b_total{topic="a\"b\\c\nd"} 4
        # HELP c_seconds Took.
        # TYPE c_seconds histogram
        c_seconds_bucket{le="0.5"} 2
        c_seconds_bucket{le="1"} 2
        c_seconds_bucket{le="+Inf"} 3
        c_seconds_sum 2.75
        c_seconds_count 3
        "#);
    }
}
