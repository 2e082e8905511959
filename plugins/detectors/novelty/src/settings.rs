//! What the operator may set.

use anomalyzer_plugin_sdk::{Error, above_zero, within};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the detector `novelty`. It needs none: what it learns from is the series.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How new is too new: 2 asks for twice as much as usual, 0.8 is more sensitive.
    pub threshold: f64,
    /// No findings before so many samples were seen.
    #[schemars(range(min = 50, max = 100_000))]
    pub min_samples: u32,
    /// So many samples in a row must be back for an anomaly to end.
    #[schemars(range(min = 1, max = 10_000))]
    pub clear_samples: u32,
    /// After so many samples what goes on is accepted as normal.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub hold_at_most: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 1.0,
            min_samples: 200,
            clear_samples: 5,
            hold_at_most: 1000,
        }
    }
}

impl Settings {
    /// Names the first key that makes no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        above_zero("threshold", self.threshold)?;
        within("min_samples", self.min_samples, 50..=100_000)?;
        within("clear_samples", self.clear_samples, 1..=10_000)?;
        within("hold_at_most", self.hold_at_most, 1..=1_000_000)
    }
}
