//! Configuration of the signals to watch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{ConfigIssue, DetectorConfig, Meaning, WatchedSignal, duration};

use super::look_back::look_back;
use super::{Selector, TargetTemplate};

/// A signal: its source, its target and its detectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct SignalConfig {
    /// Name, unique among the signals. It is the `__name__` of the signal's series.
    pub name: String,
    /// Source of the values.
    pub source: SignalSource,
    /// Target that the signal describes.
    pub target: TargetTemplate,
    /// PromQL that returns one series for each source behind a query, such as `up{job="web"}`. The
    /// value is 1 if the source answers Prometheus, and 0 otherwise. Without this query, a source
    /// that stopped reporting can't be told from a source that has no data. A derivation knows its
    /// coverage itself.
    pub coverage: Option<String>,
    /// Meaning of the values.
    pub meaning: Meaning,
    /// Unit of the values for display, such as `seconds`, `bytes` or `ratio`.
    pub unit: String,
    /// Detectors of the signal. Defaults to `novelty`.
    pub detectors: Vec<DetectorConfig>,
    /// Time between two polls, if it differs from the default.
    #[serde(with = "duration::option")]
    pub interval: Option<Duration>,
    /// Time after which an ongoing incident with a finding on this signal is diagnosed, if it
    /// differs from that of `[incidents]`.
    #[serde(with = "duration::option")]
    pub confirm_after: Option<Duration>,
}

impl SignalConfig {
    /// Checks that a detector watches the signal. All other checks happen while it is read.
    ///
    /// # Errors
    /// Returns an error if the signal has no detector.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        if self.detectors.is_empty() {
            return Err(ConfigIssue::new(format!(
                "signal `{}` has no detector: name one, or leave `detectors` out for `novelty`",
                self.name
            )));
        }
        Ok(())
    }

    /// Returns the part of this configuration that detection needs.
    pub fn watched(&self) -> WatchedSignal {
        WatchedSignal {
            name: self.name.clone(),
            meaning: self.meaning,
            detectors: self.detectors.clone(),
            confirm_after: self.confirm_after,
        }
    }
}

/// Returns the default detectors, for a signal that names none.
fn novelty() -> Vec<DetectorConfig> {
    vec![DetectorConfig::named("novelty")]
}

/// Source of a signal: a query that Prometheus answers, or a derivation from the samples of direct
/// scrapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SignalSource {
    /// PromQL. Every series of the answer is a series of the signal.
    Query(String),
    /// The value as it is.
    Gauge(Gauge),
    /// Increase of a counter per second.
    Rate(Rate),
    /// Quotient of two rates. It has no value while the denominator is zero.
    Ratio(Ratio),
    /// Quantile of a histogram's observations. It has no value without observations.
    Quantile(Quantile),
}

impl SignalSource {
    /// Returns `query`, `gauge`, `rate`, `ratio` or `quantile`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Query(_) => "query",
            Self::Gauge(_) => "gauge",
            Self::Rate(_) => "rate",
            Self::Ratio(_) => "ratio",
            Self::Quantile(_) => "quantile",
        }
    }

    /// Returns the labels that a derivation keeps. Returns `None` for a query, because only
    /// Prometheus knows its labels.
    pub fn by(&self) -> Option<&[String]> {
        match self {
            Self::Query(_) => None,
            Self::Gauge(Gauge { by, .. })
            | Self::Rate(Rate { by, .. })
            | Self::Ratio(Ratio { by, .. })
            | Self::Quantile(Quantile { by, .. }) => Some(by),
        }
    }

    /// Returns the look-back window of a derivation. Returns `None` if the source has no window,
    /// which includes a gauge's newest sample.
    pub fn window(&self) -> Option<Duration> {
        match self {
            Self::Query(_) | Self::Gauge(_) => None,
            Self::Rate(Rate { window, .. })
            | Self::Ratio(Ratio { window, .. })
            | Self::Quantile(Quantile { window, .. }) => Some(*window),
        }
    }

    /// Returns the time before an instant that a value depends on.
    pub fn look_back(&self) -> Duration {
        match self {
            Self::Query(query) => look_back(query),
            _ => self.window().unwrap_or_default(),
        }
    }
}

/// The newest value of each series. Series with equal `by` labels are aggregated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gauge {
    /// Selector of the samples.
    pub of: Selector,
    /// Labels to keep. If empty, all series are aggregated into one.
    #[serde(default)]
    pub by: Vec<String>,
    /// Aggregation of several series.
    #[serde(default)]
    pub aggregate: Aggregate,
}

/// Increase of each counter per second. Series with equal `by` labels are aggregated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Selector of the samples.
    pub of: Selector,
    /// Look-back window. It must hold two samples.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Labels to keep.
    #[serde(default)]
    pub by: Vec<String>,
    /// Aggregation of several series.
    #[serde(default)]
    pub aggregate: Aggregate,
}

/// Sum of the rates of `of`, divided by the sum of the rates of `over`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// Selector of the numerator.
    pub of: Selector,
    /// Selector of the denominator.
    pub over: Selector,
    /// Look-back window. It must hold two samples.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Labels to keep.
    #[serde(default)]
    pub by: Vec<String>,
}

/// Quantile of the observations of a histogram in the window, over all its series with equal `by`
/// labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// The histogram, without `_bucket`.
    pub of: Selector,
    /// Quantile from 0 to 1.
    pub q: f64,
    /// Look-back window. It must hold two samples.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Labels to keep.
    #[serde(default)]
    pub by: Vec<String>,
}

/// Aggregation of several series into one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Sum of the values. It has no value while a source fails, because the missing part would
    /// count as zero.
    #[default]
    Sum,
    /// Highest value.
    Max,
    /// Lowest value.
    Min,
    /// Mean of the values.
    Avg,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    name: String,
    source: SignalSource,
    target: TargetTemplate,
    #[serde(default)]
    coverage: Option<String>,
    #[serde(default)]
    meaning: Meaning,
    #[serde(default)]
    unit: String,
    #[serde(default = "novelty")]
    detectors: Vec<DetectorConfig>,
    #[serde(default, with = "duration::option")]
    interval: Option<Duration>,
    #[serde(default, with = "duration::option")]
    confirm_after: Option<Duration>,
}

impl TryFrom<Unchecked> for SignalConfig {
    type Error = String;

    fn try_from(signal: Unchecked) -> Result<Self, String> {
        let Unchecked {
            name,
            source,
            target,
            coverage,
            meaning,
            unit,
            detectors,
            interval,
            confirm_after,
        } = signal;
        if name.trim().is_empty() || name.len() > 200 || name.contains(char::is_control) {
            return Err(format!(
                "the signal's name {name:?} must have 1 to 200 characters and no control characters"
            ));
        }
        if interval.is_some_and(|interval| interval.is_zero()) {
            return Err(format!("the interval of the signal `{name}` must not be 0"));
        }
        match &source {
            SignalSource::Query(query) if query.trim().is_empty() => {
                return Err(format!("the query of the signal `{name}` is empty"));
            }
            SignalSource::Quantile(Quantile { q, .. }) if !(0.0..=1.0).contains(q) => {
                return Err(format!(
                    "`q` of the signal `{name}` must be from 0 to 1, not {q}; the 99th percentile is 0.99"
                ));
            }
            _ => {}
        }
        if coverage.is_some() && source.by().is_some() {
            return Err(format!(
                "the signal `{name}` is derived from scrapes and knows its coverage: drop `coverage`"
            ));
        }
        if let Some(by) = source.by()
            && let Some(label) = target
                .labels()
                .into_iter()
                .find(|label| !by.iter().any(|kept| kept == label))
        {
            return Err(format!(
                "the target of the signal `{name}` needs the label `{label}`, which the derivation drops: add it to `by`"
            ));
        }
        Ok(Self {
            name,
            source,
            target,
            coverage,
            meaning,
            unit,
            detectors,
            interval,
            confirm_after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: &str = r#"
        name = "latency_p99"
        source = { quantile = { of = 'http_request_duration_seconds{status!="503"}', q = 0.99, window = "10s" } }
        target = { kind = "Process", name = "web" }
        meaning = "latency"
        unit = "seconds"
        detectors = [{ name = "zscore", settings = { window = 60 } }]
    "#;

    #[derive(Debug, Deserialize)]
    struct Document {
        #[expect(dead_code, reason = "it is never read without an error")]
        signal: Vec<SignalConfig>,
    }

    fn error(signal: &str) -> String {
        toml::from_str::<Document>(&format!("[[signal]]{signal}"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_signal_survives_the_way_through_json() {
        let signal: SignalConfig = toml::from_str(LATENCY).unwrap();
        assert_eq!(signal.detectors[0].settings["window"], 60);
        let json = serde_json::to_string(&signal).unwrap();
        assert_eq!(serde_json::from_str::<SignalConfig>(&json).unwrap(), signal);
    }

    #[test]
    fn what_is_wrong_in_a_signal_is_named_with_its_place() {
        for (from, to, says) in [
            ("0.99", "99", "must be from 0 to 1, not 99"),
            ("10s", "10", "for example 500ms"),
            ("web", "{{app}}", "needs the label `app`"),
            ("quantile", "percentile", "unknown variant `percentile`"),
            ("unit = ", "coverage = 'up'\nunit = ", "drop `coverage`"),
            ("unit", "units", "unknown field `units`"),
            ("!=", "!~", "regular expressions need a PromQL query"),
            ("latency_p99", "", "must have 1 to 200 characters"),
        ] {
            let error = error(&LATENCY.replace(from, to));
            assert!(error.contains(says), "{error}");
            assert!(error.contains("line "), "{error}");
        }
    }
}
