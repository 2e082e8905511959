//! Samples that are far above those before them: z = (x − mean) / σ over a sliding window, with nothing but x itself left out.

use anomalyzer_plugin_sdk::{About, Detector, Error, Observation, Rule, Saved, StatefulDetector, UnixMs};
use anomalyzer_statistics::{Beyond, BeyondSeries, Side};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the detector `spike`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// So many standard deviations above the mean are a spike.
    pub threshold: f64,
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

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: 1.5, window: 60, for_samples: 1, clear_samples: 3 }
    }
}

/// The detector.
pub struct Spike(Beyond);

impl Detector for Spike {
    type Settings = Settings;
    type Series = BeyondSeries;

    /// A default window at Prometheus's usual 15 s.
    const HISTORY_MS: u64 = 60 * 15_000;

    fn about() -> About {
        About {
            name: "spike",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how many standard deviations a sample is above the mean of the samples before it",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        Beyond::new(Side::Above, settings.threshold, settings.window, rule).map(Self)
    }

    fn series(&self, _labels: &[(String, String)]) -> BeyondSeries {
        self.0.series()
    }

    #[inline]
    fn observe(&mut self, series: &mut BeyondSeries, _at: UnixMs, value: f64) -> Observation {
        self.0.observe(series, value)
    }
}

impl StatefulDetector for Spike {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<BeyondSeries, Error> {
        saved.read_if(Self::LAYOUT, |series| self.0.fits(series))
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Spike);
