//! Stores the recently scraped samples of each source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anomalyzer_common::secret_url::shown;
use anomalyzer_domain::Labels;

use super::super::exposition::{Exposed, Exposition};
use super::super::moment::Moment;
use super::super::round::Intake;
use super::super::{SignalConfig, SignalSource, SourceError};
use super::counter::{Added, Points};

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
    series: HashMap<String, BTreeMap<Labels, Points>>,
    /// Numbers of samples of the last scrape, by metric.
    intake: HashMap<String, Intake>,
}

impl Source {
    /// Returns the series of a metric with their points.
    pub fn series(&self, metric: &str) -> impl Iterator<Item = (&Labels, &Points)> {
        self.series.get(metric).into_iter().flatten()
    }

    /// Returns the numbers of samples of a metric in the last scrape.
    pub fn intake(&self, metric: &str) -> Intake {
        self.intake.get(metric).copied().unwrap_or_default()
    }

    fn absorb(&mut self, samples: Vec<Exposed>, now: Moment) {
        self.failure = None;
        self.intake.clear();
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
            // A series stays even if all of its samples are dropped: it has not ended.
            let points = self
                .series
                .entry(name.clone())
                .or_default()
                .entry(labels)
                .or_insert(seen);
            let intake = self.intake.entry(name).or_default();
            match points.add(at, value, now) {
                Added::Kept => intake.kept += 1,
                Added::Late => intake.late += 1,
                Added::Future => intake.future += 1,
            }
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
            let url = shown(&key.url);
            tracing::warn!(url, lines = found.unusable, %first, "some lines of the answer can't be used");
            self.unusable = Some(format!(
                "some lines of {url} can't be used and are left out; the first: {first}"
            ));
        }
    }

    fn forget(&mut self, now: Moment, window: Duration) {
        self.series
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|points| points.forget(now, window));
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
        let mut store = Self::default();
        for signal in signals {
            store.metrics.extend(metrics(&signal.source));
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

    /// Stores the samples of a source that answered at `now`.
    pub fn answered(&mut self, key: &SourceKey, found: Exposition, now: Moment) {
        if let Some(source) = self.sources.get_mut(key) {
            source.note_unusable(key, &found);
            source.absorb(found.samples, now);
            source.forget(now, self.longest_window);
        }
    }

    /// Records that a source failed. Keeps its earlier samples for the windows of rates, in case
    /// the source answers again.
    pub fn failed(&mut self, key: &SourceKey, failure: SourceError) {
        if let Some(source) = self.sources.get_mut(key) {
            source.failure = Some(failure);
        }
    }

    /// Returns the place of the source in the order of scrapes: sources that answered last time
    /// come first, those without a turn next, and those that failed last.
    pub fn turn(&self, key: &SourceKey) -> u8 {
        let source = self.sources.get(key);
        match source.and_then(|source| source.failure.as_ref()) {
            None => 0,
            Some(SourceError::NotAsked { .. }) => 1,
            Some(_) => 2,
        }
    }

    /// Returns all sources.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceKey, &Source)> {
        self.sources.iter()
    }
}

/// Returns the names of the metrics from which a signal is derived.
pub fn metrics(source: &SignalSource) -> Vec<String> {
    match source {
        SignalSource::Query(_) => vec![],
        SignalSource::Gauge(gauge) => vec![gauge.of.metric.clone()],
        SignalSource::Rate(rate) => vec![rate.of.metric.clone()],
        SignalSource::Ratio(ratio) => vec![ratio.of.metric.clone(), ratio.over.metric.clone()],
        SignalSource::Quantile(quantile) => vec![bucket_metric(&quantile.of.metric)],
    }
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
    fn dropped_samples_are_counted_by_metric_and_leave_their_series_open() {
        let exposed = |name: &str, at| Exposed {
            name: name.to_owned(),
            labels: Vec::new(),
            value: 1.0,
            at,
        };
        let hour = 3_600_000;
        let mut source = Source::default();
        let samples = vec![exposed("a", Some(2 * hour)), exposed("b", None)];
        source.absorb(samples, hour.into());
        let intake = |kept, late, future| Intake { kept, late, future };
        assert_eq!(source.intake("a"), intake(0, 0, 1));
        assert_eq!(source.intake("b"), intake(1, 0, 0));
        assert!(source.series("a").all(|(_, points)| points.is_empty()));
        assert_eq!(source.series("a").count(), 1);
        source.absorb(vec![exposed("a", Some(hour))], hour.into());
        source.absorb(vec![exposed("a", Some(hour - 1))], hour.into());
        assert_eq!(source.intake("a"), intake(0, 1, 0));
        // A time that stands still is no drop.
        source.absorb(vec![exposed("a", Some(hour))], hour.into());
        assert_eq!(source.intake("a"), intake(1, 0, 0));
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
