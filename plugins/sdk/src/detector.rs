//! What a detector is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Range, UnixMs};

/// Who a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Lower case, digits and hyphens, at most 63 bytes.
    pub name: &'static str,
    /// Semantic version: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One line.
    pub summary: &'static str,
}

/// Watches series, each with a memory of its own.
///
/// A pure function of its settings and of the samples in their order: no clock, no randomness, and
/// where the host ends a frame must not matter.
pub trait Detector: Sized + 'static {
    /// What the operator may set. Use `#[serde(deny_unknown_fields, default)]`: a typo is then told
    /// by its key.
    type Settings: DeserializeOwned + JsonSchema;
    /// What it remembers of one series.
    type Series: 'static;

    /// How much past it wants to see before its findings count, in milliseconds.
    const HISTORY_MS: u64;

    /// Who it is.
    fn about() -> About;

    /// Checks the settings. Answer [`Error::Invalid`] with a message that names the key.
    fn open(settings: Self::Settings) -> Result<Self, Error>;

    /// A series that was not seen before. Labels are sorted by name; `__name__` is the signal's.
    fn series(&self, labels: &[(String, String)]) -> Self::Series;

    /// The next sample of a series. `at` rises strictly within a series; the value is finite. This
    /// is the hot path.
    fn observe(&mut self, series: &mut Self::Series, at: UnixMs, value: f64) -> Observation;
}

/// What a detector says of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// How new the sample is: 1 is the threshold. Finite, not negative.
    pub score: f64,
    /// The change of phase that comes with it. Boxed, so that the usual case returns in registers.
    pub change: Option<Box<Change>>,
}

impl Observation {
    /// Nothing changed.
    pub fn quiet(score: f64) -> Self {
        Self {
            score,
            change: None,
        }
    }

    /// The phase changed.
    pub fn change(score: f64, change: Change) -> Self {
        Self {
            score,
            change: Some(Box::new(change)),
        }
    }
}

/// A change of phase of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The phase that begins.
    pub phase: Phase,
    /// How the series differs.
    pub direction: Direction,
    /// How bad it is while it lasts, on the scale of the score.
    pub severity: f64,
    /// What was expected when the anomaly began.
    pub expected: Option<Range>,
    /// One line for a person, with figures.
    pub reason: String,
}

/// Where in its life an anomaly is.
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

/// How a series differs from what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher than expected.
    Above,
    /// Lower than expected.
    Below,
    /// Neither: the shape, the rhythm, the variance, or that there is nothing at all.
    Shape,
}
