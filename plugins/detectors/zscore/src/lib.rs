//! The z-score of a sample against a sliding window of its series.
//!
//! z = (x − mean) / σ, both over the last `window` samples before x. Above `spike` or below −`drop`
//! the sample is out. The score is |z| as a share of the threshold on its side.
//!
//! With `hold`, an anomaly is judged by the range of its beginning, and the window learns nothing
//! while it lasts. The samples that are out before and at the onset do enter the window, but no
//! further than four deviations from its mean (or the larger threshold): if they stayed away
//! altogether, the window would know only what was in range, its σ would shrink with each round,
//! and plain noise would end as one anomaly (at the default thresholds, Gaussian noise is then out
//! 79 % of the time instead of 21 %); if they entered as they are, one outage would blind the
//! window to the next.

mod series;
mod settings;

use anomalyzer_plugin_sdk::{
    About, Detector, Error, Observation, Range, Saved, StatefulDetector, UnixMs,
};
use serde::{Deserialize, Serialize};

use anomalyzer_statistics::Window;
pub use series::Series;
pub use settings::Settings;

/// The detector.
pub struct ZScore {
    settings: Settings,
    window: usize,
    min_samples: usize,
    hold_at_most: u32,
    /// Thresholds of spikes and of drops.
    thresholds: [f64; 2],
    /// Their squares.
    squared: [f64; 2],
    /// So many deviations from the mean a sample that is out enters the window at most.
    learn_within: f64,
}

/// A window without any deviation makes every other value infinitely unusual. Bounded, so that it
/// can be compared.
const MOST_DEVIATIONS: f64 = 1e6;

/// How far out a sample that is out is learned at most.
const LEARN_WITHIN: f64 = 4.0;

impl Detector for ZScore {
    type Settings = Settings;
    type Series = Series;

    /// A default window at Prometheus's usual 15 s.
    const HISTORY_MS: u64 = 60 * 15_000;

    fn about() -> About {
        About {
            name: "zscore",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how many standard deviations a sample is from the mean of the samples before it",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            window: settings.window as usize,
            min_samples: settings.min_samples() as usize,
            hold_at_most: settings.hold_at_most(),
            thresholds: [settings.spike, settings.drop],
            squared: [
                settings.spike * settings.spike,
                settings.drop * settings.drop,
            ],
            learn_within: settings.spike.max(settings.drop).max(LEARN_WITHIN),
            settings,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series::new(self.window)
    }

    #[inline]
    fn observe(&mut self, series: &mut Series, _at: UnixMs, value: f64) -> Observation {
        series.observe(self, value)
    }
}

impl StatefulDetector for ZScore {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        if saved.layout != Self::LAYOUT {
            return Err(saved.unknown_layout());
        }
        let series: Series = saved.read()?;
        if !series.fits(self.window) {
            return Err(Error::Invalid(format!(
                "it has no window of {} samples",
                self.window
            )));
        }
        Ok(series)
    }
}

/// What a sample is compared with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Normal {
    mean: f64,
    deviation: f64,
}

impl ZScore {
    /// The square of the distance that is just in range, on the side of `distance`; both in the
    /// window's scale.
    #[inline]
    fn limit(&self, window: &Window, distance: f64) -> f64 {
        let mut spread = window.spread();
        // Written out: `f64::max` is a call in WebAssembly, and this is the hot path.
        if self.settings.min_deviation > 0.0 || self.settings.relative_deviation > 0.0 {
            let least = self.least_deviation(window.times_length());
            spread = if spread > least * least {
                spread
            } else {
                least * least
            };
        }
        self.squared[side(distance)] * spread
    }

    /// The standard deviation counts as at least what is set.
    fn normal(&self, window: &Window) -> Normal {
        let (mean, deviation) = window.mean_and_deviation();
        Normal {
            mean,
            deviation: deviation.max(self.least_deviation((mean, 1.0))),
        }
    }

    /// The least standard deviation about a mean, in a scale in which 1 is as large as said.
    #[inline]
    fn least_deviation(&self, (mean, one): (f64, f64)) -> f64 {
        let relative = self.settings.relative_deviation * mean.abs();
        let absolute = self.settings.min_deviation * one;
        if relative > absolute {
            relative
        } else {
            absolute
        }
    }

    /// What is in range.
    fn expected(&self, Normal { mean, deviation }: Normal) -> Range {
        Range {
            low: mean - deviation * self.settings.drop,
            high: mean + deviation * self.settings.spike,
        }
    }

    /// How many deviations a value is from the mean.
    fn z(normal: Normal, value: f64) -> f64 {
        let distance = value - normal.mean;
        // 0 / 0 is no anomaly; anything else / 0 is infinite, and then bounded.
        if distance == 0.0 {
            0.0
        } else {
            (distance / normal.deviation).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        }
    }

    /// |z| as a share of the threshold on its side: more than 1 is out.
    fn score(&self, z: f64) -> f64 {
        z.abs() / self.thresholds[side(z)]
    }
}

/// Which threshold counts: 0 for a spike, 1 for a drop. By the sign bit: every other sample is
/// below the mean, and a branch would be guessed wrong.
#[inline]
fn side(distance: f64) -> usize {
    (distance.to_bits() >> 63) as usize
}

anomalyzer_plugin_sdk::export_stateful_detector!(ZScore);
