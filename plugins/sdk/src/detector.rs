//! Detectors: the trait that a detector implements, and its observations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Range, UnixMs};

/// Name, version and summary of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Name of the plugin: lower case letters, digits and hyphens, at most 63 bytes.
    pub name: &'static str,
    /// Semantic version: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// Summary in one line.
    pub summary: &'static str,
}

/// Watches series, each with a state of its own.
///
/// A detector is a pure function of its settings and of the samples in their order. It has no clock
/// and no randomness. The place where the host ends a frame must not matter.
pub trait Detector: Sized + 'static {
    /// Settings that the operator may change. Use `#[serde(deny_unknown_fields, default)]`. The
    /// error for a typo then names the key.
    type Settings: DeserializeOwned + JsonSchema;
    /// State of one series.
    type Series: 'static;

    /// History that the detector wants to see before its findings count, in milliseconds.
    const HISTORY_MS: u64;

    /// Returns the name, version and summary of the detector.
    fn about() -> About;

    /// Checks the settings and makes the detector. Returns [`Error::Invalid`] with a message that
    /// names the key if a setting is invalid.
    fn open(settings: Self::Settings) -> Result<Self, Error>;

    /// Returns the state of a series that was not seen before. Labels are sorted by name.
    /// `__name__` is the name of the signal.
    fn series(&self, labels: &[(String, String)]) -> Self::Series;

    /// Handles the next sample of a series. `at` rises strictly within a series, and the value is
    /// finite. This is the hot path.
    fn observe(&mut self, series: &mut Self::Series, at: UnixMs, value: f64) -> Observation;
}

/// Observation of one sample by a detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Novelty of the sample: 1 is the threshold. It is finite and not negative.
    pub score: f64,
    /// Change of phase at this sample. Boxed, so that the usual case returns in registers.
    pub change: Option<Box<Change>>,
}

impl Observation {
    /// Makes an observation without a change of phase.
    pub fn quiet(score: f64) -> Self {
        Self {
            score,
            change: None,
        }
    }

    /// Makes an observation with a change of phase.
    pub fn change(score: f64, change: Change) -> Self {
        Self {
            score,
            change: Some(Box::new(change)),
        }
    }
}

/// Change of phase of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Phase that begins.
    pub phase: Phase,
    /// Direction in which the series differs.
    pub direction: Direction,
    /// Severity of the anomaly while it lasts, on the scale of the score.
    pub severity: f64,
    /// Range that was expected when the anomaly began.
    pub expected: Option<Range>,
    /// Reason in one line for a person, with figures.
    pub reason: String,
}

/// Phase in the life of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The anomaly begins.
    Onset,
    /// The anomaly goes on.
    Ongoing,
    /// The anomaly is over.
    Clear,
}

/// Direction in which a series differs from the expected range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher than expected.
    Above,
    /// Lower than expected.
    Below,
    /// Neither: the shape, the rhythm or the variance differs, or there are no samples at all.
    Shape,
}
