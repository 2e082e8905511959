//! Detector of a share of failed requests above a limit: score = x / limit. It learns nothing from
//! the past. It therefore also finds a service that has always failed too often.

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, above_zero, figure,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the detector `error-rate`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Largest share of requests that may fail, in the unit of the series: 0.05 is 5 % of a ratio.
    pub limit: f64,
    /// Number of consecutive samples above the limit that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples within the limit that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: 0.05,
            for_samples: 1,
            clear_samples: 3,
        }
    }
}

/// Detector `error-rate`.
pub struct ErrorRate {
    limit: f64,
    rule: Rule,
}

impl Detector for ErrorRate {
    type Settings = Settings;
    type Series = Episode;

    const HISTORY_MS: u64 = 0;

    fn about() -> About {
        About {
            name: "error-rate",
            version: env!("CARGO_PKG_VERSION"),
            summary: "whether the share of failed requests is above a limit",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        above_zero("limit", settings.limit)?;
        Ok(Self {
            limit: settings.limit,
            rule: Rule::new(settings.for_samples, settings.clear_samples)?,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Episode {
        Episode::default()
    }

    #[inline]
    fn observe(&mut self, episode: &mut Episode, _at: UnixMs, value: f64) -> Observation {
        let score = if value > 0.0 { value / self.limit } else { 0.0 };
        episode.observe(self.rule, score, |phase| {
            let (share, limit) = (figure(value), figure(self.limit));
            let reason = match phase {
                Phase::Clear => {
                    format!("a share of {share} fails, within the limit of {limit} again")
                }
                Phase::Onset | Phase::Ongoing => {
                    format!("a share of {share} fails, the limit is {limit}")
                }
            };
            let expected = Some(Range {
                low: f64::NEG_INFINITY,
                high: self.limit,
            });
            Told {
                direction: Direction::Above,
                expected,
                reason,
            }
        })
    }
}

impl StatefulDetector for ErrorRate {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Episode, Error> {
        saved.read_if(Self::LAYOUT, Episode::is_sound)
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(ErrorRate);
