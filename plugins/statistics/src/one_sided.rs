//! A detector of what is beyond the samples before it, on one side.

use std::marker::PhantomData;

use anomalyzer_plugin_sdk::{
    About, Detector, Error, Observation, Rule, Saved, StatefulDetector, UnixMs,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::beyond::LEAST_SAMPLES;
use crate::{Beyond, BeyondSeries, Side};

/// Which side a detector watches, and how it is called.
pub trait OneSide: 'static {
    /// The side.
    const SIDE: Side;
    /// How many standard deviations are too many, unless it is set.
    const THRESHOLD: f64;

    /// Who it is.
    fn about() -> About;
}

/// Its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-min-samples" = LEAST_SAMPLES))]
pub struct OneSidedSettings {
    /// So many standard deviations from the mean are too many. By default 1.5 for spikes and 3 for
    /// drops.
    pub threshold: Option<f64>,
    /// How many samples the mean and the standard deviation are taken over.
    #[schemars(range(min = 2, max = 10_000))]
    pub window: u32,
    /// So many samples in a row must be out for an anomaly to begin.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// So many samples in a row must be back for it to end.
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

/// The detector.
pub struct OneSided<S>(Beyond, PhantomData<S>);

impl<S: OneSide> Detector for OneSided<S> {
    type Settings = OneSidedSettings;
    type Series = BeyondSeries;

    /// A default window at Prometheus's usual 15 s.
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

    // Always, so that the score is left out where nobody asks for it.
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
