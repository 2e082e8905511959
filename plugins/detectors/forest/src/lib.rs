//! Detector with an isolation forest over a stream: half-space trees (Tan, Ting & Liu, "Fast
//! anomaly detection for streaming data", IJCAI 2011).
//!
//! 16 trees of depth 6 cut a space of three dimensions in halves, at random, before any sample is
//! seen. The dimensions are the value, its step from the value before, and the mean of the last 12
//! values. A sample is new if few of the 250 samples of the last window lie around it. Its mass m
//! is Σ r · 2^depth over the trees, divided by the mass that it would have if the window were
//! spread evenly. r is the count of the first node on the sample's way that holds at most 25
//! samples or is a leaf. score = log₂(1 + 1/m) / threshold, at most 20 / threshold.
//!
//! The cube that the trees cut is twice as large as the range of the window before. The detector
//! finds nothing in the first two windows.

mod mass;
mod trees;

use std::collections::VecDeque;

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Rule, Saved, StatefulDetector,
    Told, UnixMs, above_zero, figure,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use mass::{Mass, WINDOW};
use trees::Trees;

/// Settings of the detector `forest`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Value of log₂(1 + 1/m) from which a sample is new. With 2, the surroundings of the sample
    /// hold a third of the samples that they would hold if the samples were spread evenly.
    pub threshold: f64,
    /// Seed of the random cuts. An equal seed makes equal trees.
    pub seed: u32,
    /// Number of consecutive new samples that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples that are not new that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: THRESHOLD,
            seed: 1,
            for_samples: 1,
            clear_samples: 5,
        }
    }
}

const THRESHOLD: f64 = 2.0;
/// Highest value of log₂(1 + 1/m) in a score.
const MAX_ISOLATION: f64 = 20.0;
/// Number of samples in the mean.
const RECENT: usize = 12;
/// Largest absolute value. Larger values are clamped to it, so that sums stay finite.
const LARGEST: f64 = 1e300;

/// Detector `forest`.
pub struct Forest {
    trees: Trees,
    threshold: f64,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    mass: Mass,
    recent: VecDeque<f64>,
    episode: Episode,
}

impl Detector for Forest {
    type Settings = Settings;
    type Series = Series;

    /// Two windows at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = 2 * WINDOW as u64 * 15_000;

    fn about() -> About {
        About {
            name: "forest",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how empty the surroundings of a sample are among those of the last window, by half-space trees",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        above_zero("threshold", settings.threshold)?;
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        Ok(Self {
            trees: Trees::new(u64::from(settings.seed)),
            threshold: settings.threshold,
            rule,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series {
            mass: Mass::new(),
            recent: VecDeque::new(),
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, _at: UnixMs, value: f64) -> Observation {
        let Series {
            mass,
            recent,
            episode,
        } = series;
        let x = value.clamp(-LARGEST, LARGEST);
        let step = x - recent.back().copied().unwrap_or(x);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(x);
        let mean = recent.iter().sum::<f64>() / recent.len() as f64;
        let score = match mass.observe(&self.trees, &[x, step, mean]) {
            Some(mass) => (1.0 + 1.0 / mass).log2().min(MAX_ISOLATION) / self.threshold,
            None => 0.0,
        };
        episode.observe(self.rule, score, |phase| {
            let (shown, mean, step) = (figure(value), figure(mean), figure(step));
            let what = format!("{shown}, a step of {step} at a mean of {mean},");
            let reason = match phase {
                Phase::Clear => format!("{what} is where samples of the last {WINDOW} lie again"),
                Phase::Onset | Phase::Ongoing => {
                    format!("{what} is where hardly any of the last {WINDOW} samples lie")
                }
            };
            Told {
                direction: Direction::Shape,
                expected: None,
                reason,
            }
        })
    }
}

impl StatefulDetector for Forest {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, |series: &Series| {
            series.mass.fits() && series.recent.len() <= RECENT && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Forest);
