//! Stores the recently scraped samples of each source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anomalyzer_domain::{Labels, UnixMs, millis};

use super::super::exposition::{Exposed, Exposition};
use super::super::fetch::shown_text;
use super::super::{SignalConfig, SignalSource, SourceError};
use super::counter::{Point, Points};

/// Metric that tells one run of a process from the next.
const START_TIME: &str = "process_start_time_seconds";

/// Tolerance for changes of the start time, in seconds. Some libraries compute the start time anew
/// for each scrape, from clocks that are corrected now and then.
const JITTER: f64 = 2.0;

/// Time that a sample counts as current if its own timestamp does not advance. The value is
/// Prometheus's default look-back delta.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// A job and an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The job.
    pub job: String,
    /// The address that is scraped.
    pub url: String,
}

/// Recent samples of one address.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Labels `job` and `instance`, and those from discovery.
    pub labels: Labels,
    /// Reason why the last scrape failed, if it did.
    pub failure: Option<SourceError>,
    /// First unusable line of the first of the last scrapes that all had unusable lines.
    pub unusable: Option<String>,
    life: u32,
    scraped_at: UnixMs,
    started_at: Option<f64>,
    series: HashMap<String, BTreeMap<Labels, Points>>,
}

impl Source {
    /// Returns the series of a metric with their points.
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
            // The clock was set back, so the stored points have times in the future.
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
        // Series left in `before` are no longer exposed. They have ended.
    }

    /// Remembers the first unusable line until a scrape has none. Logs it once.
    fn note_unusable(&mut self, key: &SourceKey, found: &Exposition) {
        let Some(first) = &found.first_unusable else {
            self.unusable = None;
            return;
        };
        if self.unusable.is_none() {
            let url = shown_text(&key.url);
            tracing::warn!(url, lines = found.unusable, %first, "some lines of the answer can't be used");
            self.unusable = Some(format!(
                "some lines of {url} can't be used and are left out; the first: {first}"
            ));
        }
    }

    fn forget(&mut self, until: UnixMs) {
        self.series
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|points| points.forget(until));
    }
}

/// Merges a sample's labels with those of its source. On a conflict the source's label wins, and
/// the sample's label is kept as `exported_…`, as in Prometheus.
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

/// Recently scraped samples of the metrics that at least one signal needs.
#[derive(Clone, Debug, Default)]
pub struct Store {
    sources: BTreeMap<SourceKey, Source>,
    metrics: BTreeSet<String>,
    longest_window: Duration,
}

impl Store {
    /// Creates a store for the given signals.
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

    /// Returns true if at least one signal needs this metric.
    pub fn wants(&self, metric: &str) -> bool {
        self.metrics.contains(metric)
    }

    /// Sets the list of sources. Drops sources that are not in `list`, and adds new ones.
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

    /// Stores the samples of a source that answered.
    pub fn answered(&mut self, key: &SourceKey, found: Exposition, scraped_at: UnixMs) {
        let until = scraped_at.saturating_sub(millis(self.longest_window));
        if let Some(source) = self.sources.get_mut(key) {
            source.note_unusable(key, &found);
            source.absorb(found.samples, scraped_at);
            source.forget(until);
        }
    }

    /// Records that a source failed. Keeps its earlier samples for the windows of rates, in case
    /// the source answers again.
    pub fn failed(&mut self, key: &SourceKey, failure: SourceError) {
        if let Some(source) = self.sources.get_mut(key) {
            source.failure = Some(failure);
        }
    }

    /// Returns all sources.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceKey, &Source)> {
        self.sources.iter()
    }
}

/// Returns true if a sample from `at` still counts as current at `now`.
pub fn is_fresh(at: UnixMs, now: UnixMs) -> bool {
    at > now.saturating_sub(millis(STALE_AFTER))
}

/// Returns the name of the metric that holds a histogram's buckets.
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
