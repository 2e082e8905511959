//! Detector of samples beyond the samples before them, on one side.

use std::marker::PhantomData;

use anomalyzer_plugin_sdk::{
    About, Detector, Error, Observation, Rule, Saved, StatefulDetector, UnixMs,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::beyond::LEAST_SAMPLES;
use crate::{Beyond, BeyondSeries, Side};

/// Side that a detector watches, and its name.
pub trait OneSide: 'static {
    /// Side that is watched.
    const SIDE: Side;
    /// Default number of standard deviations that make an anomaly.
    const THRESHOLD: f64;

    /// Returns the name, version and summary of the detector.
    fn about() -> About;
}

/// Settings of a one-sided detector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-min-samples" = LEAST_SAMPLES))]
pub struct OneSidedSettings {
    /// Number of standard deviations from the mean that make an anomaly. By default 1.5 for spikes
    /// and 3 for drops.
    pub threshold: Option<f64>,
    /// Number of samples for the mean and the standard deviation.
    #[schemars(range(min = 2, max = 10_000))]
    pub window: u32,
    /// Number of consecutive samples out of range that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples in range that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for OneSidedSettings {
    fn default() -> Self {
        Self {
            threshold: None,
            window: 60,
            for_samples: 1,
            clear_samples: 3,
        }
    }
}

/// Detector that watches one side.
pub struct OneSided<S>(Beyond, PhantomData<S>);

impl<S: OneSide> Detector for OneSided<S> {
    type Settings = OneSidedSettings;
    type Series = BeyondSeries;

    /// A default window at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = 60 * 15_000;

    fn about() -> About {
        S::about()
    }

    fn open(settings: OneSidedSettings) -> Result<Self, Error> {
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        let threshold = settings.threshold.unwrap_or(S::THRESHOLD);
        Ok(Self(
            Beyond::new(S::SIDE, threshold, settings.window, rule)?,
            PhantomData,
        ))
    }

    fn series(&self, _labels: &[(String, String)]) -> BeyondSeries {
        self.0.series()
    }

    // It is always inlined, so that the compiler leaves out the score if nobody asks for it.
    #[inline(always)]
    fn observe(&mut self, series: &mut BeyondSeries, _at: UnixMs, value: f64) -> Observation {
        self.0.observe(series, value)
    }
}

impl<S: OneSide> StatefulDetector for OneSided<S> {
    fn restore(
        &self,
        _labels: &[(String, String)],
        saved: &Saved<'_>,
    ) -> Result<BeyondSeries, Error> {
        saved.read_if(Self::LAYOUT, |series| self.0.fits(series))
    }
}
