//! Settings that the operator may change.

use anomalyzer_plugin_sdk::Error;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the detector `zscore`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Number of samples for the mean and the standard deviation.
    #[schemars(range(min = 2, max = 10000))]
    pub window: u32,
    /// Number of standard deviations above the mean that make a spike.
    pub spike: f64,
    /// Number of standard deviations below the mean that make a drop.
    pub drop: f64,
    /// Minimum number of samples before the first finding. By default 20, or the window if that is
    /// smaller.
    #[schemars(extend("default" = 20))]
    pub min_samples: Option<u32>,
    /// Number of consecutive samples out of range that begin an anomaly.
    #[schemars(range(min = 1))]
    pub for_samples: u32,
    /// Number of consecutive samples in range that end an anomaly.
    #[schemars(range(min = 1))]
    pub clear_samples: u32,
    /// Minimum of the standard deviation, in the unit of the series.
    pub min_deviation: f64,
    /// Minimum of the standard deviation, as a share of the mean.
    pub relative_deviation: f64,
    /// Keeps the range of the anomaly's beginning while the anomaly lasts. Otherwise the window
    /// goes on learning.
    pub hold: bool,
    /// Number of samples after which `hold` accepts the new level as normal. By default ten
    /// windows.
    #[schemars(range(min = 1))]
    pub hold_at_most: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 60,
            spike: 1.5,
            drop: 3.0,
            min_samples: None,
            for_samples: 1,
            clear_samples: 3,
            min_deviation: 0.0,
            relative_deviation: 0.0,
            hold: true,
            hold_at_most: None,
        }
    }
}

const MAX_SAMPLES: u32 = 10_000;

impl Settings {
    /// Checks the settings. Returns an error that names the first invalid key.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |key: &str, value: f64, want: &str| {
            Err(Error::Invalid(format!("`{key}` is {value}: give {want}")))
        };
        let whole = |key, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                wrong(key, f64::from(value), &format!("{least} to {most}"))
            }
        };
        whole("window", self.window, 2, MAX_SAMPLES)?;
        whole("min_samples", self.min_samples(), 2, self.window)?;
        whole("for_samples", self.for_samples, 1, MAX_SAMPLES)?;
        whole("clear_samples", self.clear_samples, 1, MAX_SAMPLES)?;
        whole("hold_at_most", self.hold_at_most(), 1, u32::MAX)?;
        for (key, value) in [("spike", self.spike), ("drop", self.drop)] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(key, value, "a number above 0");
            }
        }
        for (key, value) in [
            ("min_deviation", self.min_deviation),
            ("relative_deviation", self.relative_deviation),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return wrong(key, value, "0 or more");
            }
        }
        Ok(())
    }

    pub(crate) fn min_samples(&self) -> u32 {
        self.min_samples.unwrap_or(20.min(self.window))
    }

    pub(crate) fn hold_at_most(&self) -> u32 {
        self.hold_at_most.unwrap_or(self.window.saturating_mul(10))
    }
}
