//! Findings: reports of detectors about one series.

use serde::{Deserialize, Serialize};

use super::{FindingId, Labels, UnixMs, number::as_number, time::as_rfc3339};

/// Stage in the life of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The anomaly begins.
    Onset,
    /// The anomaly continues.
    Ongoing,
    /// The anomaly is over.
    Clear,
}

/// Direction in which the series differs from its expected values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher than expected.
    Above,
    /// Lower than expected.
    Below,
    /// Neither: the shape, the rhythm or the variance differs, or the series is absent.
    Shape,
}

/// Quantity that a signal measures. Rules use it to reason about a signal without knowing its name.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Duration of requests.
    Latency,
    /// Number of requests that arrive.
    Traffic,
    /// Number of requests that fail.
    Errors,
    /// Fill level of a resource (CPU, queue, pool).
    Saturation,
    /// Memory in use.
    Memory,
    /// Reachability of the source; set by the host.
    Coverage,
    /// Not specified.
    #[default]
    Other,
}

/// Expected range. A missing end is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Lowest expected value.
    pub low: Option<f64>,
    /// Highest expected value.
    pub high: Option<f64>,
}

impl Range {
    /// Returns the distance of a value from the range; 0 inside.
    pub fn distance(&self, value: f64) -> f64 {
        let below = self.low.map_or(0.0, |low| low - value);
        let above = self.high.map_or(0.0, |high| value - high);
        below.max(above).max(0.0)
    }

    /// Returns true if the range contains the value.
    pub fn contains(&self, value: f64) -> bool {
        self.distance(value) == 0.0
    }
}

/// Change of phase of one series, or the host's own report that a source stopped reporting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the finding: hash(signal, labels, detector digest, onset).
    pub id: FindingId,
    /// Name of the signal.
    pub signal: String,
    /// Quantity that the signal measures.
    pub meaning: Meaning,
    /// Labels of the series.
    pub labels: Labels,
    /// Name of the detector; `host` for an absent source.
    pub detector: String,
    /// SHA-256 of the detector's bytes; empty for findings of the host.
    pub detector_digest: String,
    /// Time at which the anomaly began.
    #[serde(with = "as_rfc3339")]
    pub onset_at: UnixMs,
    /// Time of the sample that the finding is about.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Phase of the anomaly.
    pub phase: Phase,
    /// Direction of the deviation.
    pub direction: Direction,
    /// Novelty of the deviation; 1 is the detector's threshold.
    #[serde(with = "as_number")]
    pub score: f64,
    /// Severity while the anomaly lasts, on the same scale as `score`.
    #[serde(with = "as_number")]
    pub severity: f64,
    /// Observed value. None if there was none.
    pub observed: Option<f64>,
    /// Range that was expected when the anomaly began.
    pub expected: Option<Range>,
    /// Explanation for a person, in one line.
    pub reason: String,
}
