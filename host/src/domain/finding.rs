//! What a detector says.

use serde::{Deserialize, Serialize};

use super::{FindingId, Labels, UnixMs, number::as_number, time::as_rfc3339};

/// Where in its life an anomaly of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It begins.
    Onset,
    /// It goes on.
    Ongoing,
    /// It is over.
    Clear,
}

/// How the series differs from what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher than expected.
    Above,
    /// Lower than expected.
    Below,
    /// Neither: the shape, the rhythm, the variance, or that there is nothing at all.
    Shape,
}

/// What a signal measures, so that rules can reason about it without knowing its name.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// How long requests take.
    Latency,
    /// How many requests arrive.
    Traffic,
    /// How many requests fail.
    Errors,
    /// How full something is (CPU, queue, pool).
    Saturation,
    /// Memory in use.
    Memory,
    /// Whether the source answers at all; set by the host.
    Coverage,
    /// Nothing said.
    #[default]
    Other,
}

/// The expected range; an end that is missing is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Lowest expected value.
    pub low: Option<f64>,
    /// Highest expected value.
    pub high: Option<f64>,
}

impl Range {
    /// How far outside a value is; 0 inside.
    pub fn distance(&self, value: f64) -> f64 {
        let below = self.low.map_or(0.0, |low| low - value);
        let above = self.high.map_or(0.0, |high| value - high);
        below.max(above).max(0.0)
    }

    /// Whether a value is expected.
    pub fn contains(&self, value: f64) -> bool {
        self.distance(value) == 0.0
    }
}

/// A change of phase of one series, or the host's own word that a source fell silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// hash(signal, labels, detector digest, onset).
    pub id: FindingId,
    /// The signal.
    pub signal: String,
    /// What the signal measures.
    pub meaning: Meaning,
    /// The series.
    pub labels: Labels,
    /// Name of the detector; `host` for silence.
    pub detector: String,
    /// SHA-256 of the detector's bytes; empty for the host's own.
    pub detector_digest: String,
    /// When the anomaly began.
    #[serde(with = "as_rfc3339")]
    pub onset_at: UnixMs,
    /// The sample that this is about.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Phase.
    pub phase: Phase,
    /// Direction.
    pub direction: Direction,
    /// How new it is; 1 is the detector's threshold.
    #[serde(with = "as_number")]
    pub score: f64,
    /// How bad it is while it lasts, on the same scale.
    #[serde(with = "as_number")]
    pub severity: f64,
    /// The value seen. None when there was none.
    pub observed: Option<f64>,
    /// What was expected when it began.
    pub expected: Option<Range>,
    /// One line for a person.
    pub reason: String,
}
