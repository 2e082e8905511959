//! What was scraped lately, source by source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::domain::{Labels, UnixMs, millis};

use super::super::exposition::Exposed;
use super::super::{SignalConfig, SignalSource, SourceError};
use super::counter::{Point, Points};

/// Says in which life a process is.
const START_TIME: &str = "process_start_time_seconds";

/// Some libraries work the start out again each time, from clocks that are corrected now and then;
/// in seconds.
const JITTER: f64 = 2.0;

/// How long a sample whose own time does not move on is believed, as in Prometheus (its look-back
/// delta).
const STALE_AFTER: Duration = Duration::from_secs(300);

/// A job and an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The job.
    pub job: String,
    /// The address that is scraped.
    pub url: String,
}

/// What one address said lately.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `job`, `instance` and what discovery gave it.
    pub labels: Labels,
    /// Why it did not answer when it was last asked.
    pub failure: Option<SourceError>,
    life: u32,
    scraped_at: UnixMs,
    started_at: Option<f64>,
    series: HashMap<String, BTreeMap<Labels, Points>>,
}

impl Source {
    /// The series of a metric and what was seen of each.
    pub fn series(&self, metric: &str) -> impl Iterator<Item = (&Labels, &Points)> {
        self.series.get(metric).into_iter().flatten()
    }

    fn absorb(&mut self, samples: Vec<Exposed>, scraped_at: UnixMs) {
        self.failure = None;
        let started_at = samples
            .iter()
            .find(|sample| sample.name == START_TIME)
            .map(|sample| sample.value);
        if let (Some(before), Some(now)) = (self.started_at, started_at)
            && now > before + JITTER
        {
            self.life += 1;
        }
        if scraped_at < self.scraped_at {
            // The clock was set back: what was seen has times that are still to come.
            self.series.clear();
        }
        self.scraped_at = scraped_at;
        self.started_at = started_at.or(self.started_at);

        let mut before = std::mem::take(&mut self.series);
        for Exposed {
            name,
            labels,
            value,
            at,
        } in samples
        {
            let labels = attach(labels, &self.labels);
            let seen = before
                .get_mut(&name)
                .and_then(|series| series.remove(&labels))
                .unwrap_or_default();
            let series = self
                .series
                .entry(name)
                .or_default()
                .entry(labels)
                .or_insert(seen);
            series.push(Point {
                at: at.unwrap_or(scraped_at),
                value,
                life: self.life,
            });
        }
        // What is left in `before` is no longer exposed: it ended.
    }

    fn forget(&mut self, until: UnixMs) {
        self.series
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|points| points.forget(until));
    }
}

/// A sample's labels with those of its source. Where both have one, the source's counts and the
/// sample's is kept as `exported_…`, as Prometheus does.
fn attach(own: Vec<(String, String)>, source: &Labels) -> Labels {
    let own = own
        .into_iter()
        .map(|(name, value)| match source.get(&name) {
            Some(_) => (format!("exported_{name}"), value),
            None => (name, value),
        });
    Labels::new(
        own.chain(
            source
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
    )
}

/// What was scraped lately, of the metrics that some signal needs.
#[derive(Clone, Debug, Default)]
pub struct Store {
    sources: BTreeMap<SourceKey, Source>,
    metrics: BTreeSet<String>,
    longest_window: Duration,
}

impl Store {
    /// For these signals.
    pub fn new<'a>(signals: impl IntoIterator<Item = &'a SignalConfig>) -> Self {
        let mut store = Self {
            metrics: [START_TIME.to_owned()].into(),
            ..Self::default()
        };
        for signal in signals {
            let needed = match &signal.source {
                SignalSource::Query(_) => vec![],
                SignalSource::Gauge(gauge) => vec![gauge.of.metric.clone()],
                SignalSource::Rate(rate) => vec![rate.of.metric.clone()],
                SignalSource::Ratio(ratio) => {
                    vec![ratio.of.metric.clone(), ratio.over.metric.clone()]
                }
                SignalSource::Quantile(quantile) => vec![bucket_metric(&quantile.of.metric)],
            };
            store.metrics.extend(needed);
            store.longest_window = store
                .longest_window
                .max(signal.source.window().unwrap_or_default());
        }
        store
    }

    /// Whether some signal needs this metric.
    pub fn wants(&self, metric: &str) -> bool {
        self.metrics.contains(metric)
    }

    /// Forgets the sources that are not in the list any more, and takes in those that are new.
    pub fn watch(&mut self, list: BTreeMap<SourceKey, Labels>) {
        let mut before = std::mem::take(&mut self.sources);
        for (key, labels) in list {
            let known = before.remove(&key).filter(|source| source.labels == labels);
            let source = known.unwrap_or_else(|| Source {
                labels,
                ..Source::default()
            });
            self.sources.insert(key, source);
        }
    }

    /// Takes in what a source answered.
    pub fn answered(&mut self, key: &SourceKey, samples: Vec<Exposed>, scraped_at: UnixMs) {
        let until = scraped_at.saturating_sub(millis(self.longest_window));
        if let Some(source) = self.sources.get_mut(key) {
            source.absorb(samples, scraped_at);
            source.forget(until);
        }
    }

    /// Notes that a source failed. What it said before is kept for the windows of rates, should it
    /// answer again.
    pub fn failed(&mut self, key: &SourceKey, failure: SourceError) {
        if let Some(source) = self.sources.get_mut(key) {
            source.failure = Some(failure);
        }
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceKey, &Source)> {
        self.sources.iter()
    }
}

/// Whether a sample of that time still counts now.
pub fn is_fresh(at: UnixMs, now: UnixMs) -> bool {
    at > now.saturating_sub(millis(STALE_AFTER))
}

/// The metric that holds a histogram's buckets.
pub fn bucket_metric(histogram: &str) -> String {
    format!(
        "{}_bucket",
        histogram.strip_suffix("_bucket").unwrap_or(histogram)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_begins_the_windows_anew() {
        let exposed = |value| {
            vec![Exposed {
                name: "c".to_owned(),
                labels: Vec::new(),
                value,
                at: None,
            }]
        };
        let mut source = Source::default();
        source.absorb(exposed(1.0), 3_600_000);
        source.absorb(exposed(2.0), 3_601_000);
        source.absorb(exposed(3.0), 1_000);
        let growth = |source: &Source| {
            source
                .series("c")
                .next()
                .and_then(|(_, points)| points.growth(0))
        };
        assert_eq!(growth(&source), None);
        source.absorb(exposed(7.0), 2_000);
        assert_eq!(growth(&source).map(|growth| growth.rate()), Some(4.0));
    }

    #[test]
    fn the_labels_of_the_source_count_and_the_sample_s_are_kept_aside() {
        let own = vec![
            ("job".to_owned(), "inner".to_owned()),
            ("path".to_owned(), "/".to_owned()),
        ];
        let labels = attach(own, &Labels::new([("job", "web"), ("instance", "a:1")]));
        assert_eq!(
            labels,
            Labels::new([
                ("exported_job", "inner"),
                ("path", "/"),
                ("job", "web"),
                ("instance", "a:1")
            ])
        );
    }
}
