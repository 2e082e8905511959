//! Samples on their way from `collect` to `detect`.

use serde::{Deserialize, Serialize};

use super::{Labels, Target, UnixMs, number::as_number};

/// Value of a series at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time of the observation.
    pub at: UnixMs,
    /// Value of the sample. May be NaN or infinite here; such values never reach a guest.
    /// Prometheus's stale marker is a distinct NaN.
    #[serde(with = "as_number")]
    pub value: f64,
}

/// Samples with their labels, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Labels of the series; `__name__` is the signal's name.
    pub labels: Labels,
    /// Samples, oldest first.
    pub samples: Vec<Sample>,
}

/// Number of sources behind a batch of samples. Consumers need it to tell a missing value from
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Number of sources that were queried.
    pub asked: u32,
    /// Number of sources that answered with data.
    pub answered: u32,
    /// Number of sources that failed: they refused, timed out or sent an invalid answer. Sources
    /// that neither answered nor failed had no data.
    pub failed: u32,
}

impl Coverage {
    /// Returns true if every queried source answered.
    pub fn is_complete(&self) -> bool {
        self.asked > 0 && self.answered == self.asked
    }

    /// Returns true if no source answered.
    pub fn is_silent(&self) -> bool {
        self.answered == 0
    }
}

/// Content of one message on `metrics-topic`: the samples of one signal about one target. There may
/// be no samples.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBatch {
    /// Name of the signal. For samples of another producer, the name of the metric.
    pub signal: String,
    /// Target of the samples. None for a message of another producer that names no target.
    pub target: Option<Target>,
    /// Time at which the sources were queried.
    pub observed_at: UnixMs,
    /// Coverage of the sources.
    pub coverage: Coverage,
    /// Series with their samples.
    pub series: Vec<Series>,
    /// True if the message came from another producer (a seed format) and is therefore not trusted.
    pub foreign: bool,
}

/// Bits of the NaN with which Prometheus marks the end of a series (`value.StaleNaN` in
/// Prometheus's model/value).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

impl Sample {
    /// Returns true if the sample is Prometheus's stale marker.
    pub fn is_stale_marker(&self) -> bool {
        self.value.to_bits() == STALE_NAN_BITS
    }

    /// Returns a stale marker at the time `at`.
    pub fn stale_marker(at: UnixMs) -> Self {
        Self {
            at,
            value: f64::from_bits(STALE_NAN_BITS),
        }
    }
}
