//! Samples on their way from `collect` to `detect`.

use serde::{Deserialize, Serialize};

use super::{Labels, Target, UnixMs, number::as_number};

/// One value of a series at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was observed.
    pub at: UnixMs,
    /// May be NaN or infinite here; those never reach a guest. Prometheus's stale marker is a NaN
    /// of its own.
    #[serde(with = "as_number")]
    pub value: f64,
}

/// Samples under their labels, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The labels; `__name__` is the signal's name.
    pub labels: Labels,
    /// Oldest first.
    pub samples: Vec<Sample>,
}

/// Of how many sources the samples are: without it nobody downstream can tell missing from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Sources that were asked.
    pub asked: u32,
    /// Sources that answered with data.
    pub answered: u32,
    /// Sources that failed: refused, timed out, answered nonsense. What is neither answered nor
    /// failed had nothing to say.
    pub failed: u32,
}

impl Coverage {
    /// Whether every source that was asked answered.
    pub fn is_complete(&self) -> bool {
        self.asked > 0 && self.answered == self.asked
    }

    /// Whether nobody answered.
    pub fn is_silent(&self) -> bool {
        self.answered == 0
    }
}

/// What one message on `metrics-topic` says: the samples of one signal about one target, perhaps
/// none.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBatch {
    /// The signal's name. For samples from someone else, the metric's name.
    pub signal: String,
    /// What the samples speak for. None for a message from someone else that names no target.
    pub target: Option<Target>,
    /// When the sources were asked.
    pub observed_at: UnixMs,
    /// Who answered.
    pub coverage: Coverage,
    /// The samples.
    pub series: Vec<Series>,
    /// Whether the message came from someone else (a seed format), so that it is not ours to trust.
    pub foreign: bool,
}

/// The NaN by which Prometheus says that a series ended (`value.StaleNaN` in Prometheus's
/// model/value).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

impl Sample {
    /// Whether this is Prometheus's stale marker.
    pub fn is_stale_marker(&self) -> bool {
        self.value.to_bits() == STALE_NAN_BITS
    }

    /// A stale marker at that time.
    pub fn stale_marker(at: UnixMs) -> Self {
        Self {
            at,
            value: f64::from_bits(STALE_NAN_BITS),
        }
    }
}
