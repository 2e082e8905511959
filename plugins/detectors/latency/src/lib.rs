//! Detector that compares a quantile of latency with its own past. It also suits any other series
//! that should stay at its level. A sample is out of range if it exceeds `factor` times the median
//! of the last `window` samples.
//!
//! score = x / (factor · median). An outage of less than half the window does not change the
//! median. A new level that stays is known after half a window.

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, figure, within,
};
use anomalyzer_statistics::Sorted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the detector `latency`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-min-samples" = LEAST_SAMPLES))]
pub struct Settings {
    /// Multiple of the past from which a sample is too slow.
    #[schemars(range(min = 1.0, max = 1_000_000.0))]
    pub factor: f64,
    /// Quantile of the past to compare with: 0.5 is the median.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub quantile: f64,
    /// Number of past samples to compare with.
    #[schemars(range(min = 10, max = 2000))]
    pub window: u32,
    /// Value below which a sample is never too slow, in the unit of the series.
    pub least: f64,
    /// Number of consecutive slow samples that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples that are not slow that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            factor: 1.5,
            quantile: 0.5,
            window: 120,
            least: 0.0,
            for_samples: 1,
            clear_samples: 3,
        }
    }
}

/// Minimum number of past samples to compare with.
const LEAST_SAMPLES: usize = 10;

/// Detector `latency`.
pub struct Latency {
    settings: Settings,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    past: Sorted,
    episode: Episode,
}

impl Detector for Latency {
    type Settings = Settings;
    type Series = Series;

    /// A default window at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = 120 * 15_000;

    fn about() -> About {
        About {
            name: "latency",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how many times its own past a quantile of latency is",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        within("factor", settings.factor, 1.0..=1e6)?;
        within("quantile", settings.quantile, 0.0..=1.0)?;
        within("window", settings.window, 10..=2000)?;
        within("least", settings.least, 0.0..=f64::MAX)?;
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        Ok(Self { settings, rule })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series {
            past: Sorted::new(self.settings.window as usize),
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, _at: UnixMs, value: f64) -> Observation {
        let Series { past, episode } = series;
        let usual = past.quantile(self.settings.quantile);
        let known = past.len();
        past.push(value);
        if known < LEAST_SAMPLES {
            return Observation::quiet(0.0);
        }
        let limit = (self.settings.factor * usual).max(self.settings.least);
        // A past of only zeros does not say which values are slow.
        let score = if limit > 0.0 && value > 0.0 {
            value / limit
        } else {
            0.0
        };
        episode.observe(self.rule, score, |phase| {
            let (shown, usual) = (figure(value), figure(usual));
            let reason = match phase {
                Phase::Clear => format!("{shown} is like its past {usual} again"),
                Phase::Onset | Phase::Ongoing => {
                    format!(
                        "{shown} is above {}: its past {known} samples were at {usual}",
                        figure(limit)
                    )
                }
            };
            let expected = Some(Range {
                low: f64::NEG_INFINITY,
                high: limit,
            });
            Told {
                direction: Direction::Above,
                expected,
                reason,
            }
        })
    }
}

impl StatefulDetector for Latency {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        let fits = |series: &Series| {
            series.past.fits(self.settings.window as usize) && series.episode.is_sound()
        };
        saved.read_if(Self::LAYOUT, fits)
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Latency);
