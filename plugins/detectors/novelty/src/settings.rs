//! Settings that the operator may change.

use anomalyzer_plugin_sdk::{Error, above_zero, within};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the detector `novelty`. No setting needs a value: the detector learns from the
/// series.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Novelty that makes an anomaly: 2 requires twice the usual novelty, 0.8 is more sensitive.
    pub threshold: f64,
    /// Minimum number of samples before the first finding.
    #[schemars(range(min = 50, max = 100_000))]
    pub min_samples: u32,
    /// Number of consecutive normal samples that end an anomaly.
    #[schemars(range(min = 1, max = 10_000))]
    pub clear_samples: u32,
    /// Number of samples after which an ongoing anomaly is accepted as normal.
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
    /// Checks the settings. Returns an error that names the first invalid key.
    pub(crate) fn check(&self) -> Result<(), Error> {
        above_zero("threshold", self.threshold)?;
        within("min_samples", self.min_samples, 50..=100_000)?;
        within("clear_samples", self.clear_samples, 1..=10_000)?;
        within("hold_at_most", self.hold_at_most, 1..=1_000_000)
    }
}
