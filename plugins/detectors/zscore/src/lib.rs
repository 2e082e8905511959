//! Detector of samples with a large z-score against a sliding window of their series.
//!
//! z = (x − mean) / σ. Both are over the last `window` samples before x. A sample is out of range
//! if z is above `spike` or below −`drop`. The score is |z| as a share of the threshold on its
//! side.
//!
//! With `hold`, an anomaly is judged by the range at its beginning, and the window learns nothing
//! while the anomaly lasts. The samples that are out of range before and at the onset do enter the
//! window, but no further than four deviations (or the larger threshold) from its mean. There are
//! two reasons:
//!
//! - If they stayed away altogether, the window would know only samples in range. Its σ would
//!   shrink with each round, and plain noise would end as one anomaly. At the default thresholds,
//!   Gaussian noise would then be out of range 79 % of the time instead of 21 %.
//! - If they entered unchanged, one outage would blind the window to the next.

mod series;
mod settings;

use anomalyzer_plugin_sdk::{
    About, Detector, Error, Observation, Range, Saved, StatefulDetector, UnixMs,
};
use serde::{Deserialize, Serialize};

use anomalyzer_statistics::Window;
pub use series::Series;
pub use settings::Settings;

/// Detector `zscore`.
pub struct ZScore {
    settings: Settings,
    window: usize,
    min_samples: usize,
    hold_at_most: u32,
    /// Thresholds of spikes and of drops.
    thresholds: [f64; 2],
    /// Squares of the thresholds.
    squared: [f64; 2],
    /// Maximum distance from the mean, in deviations, at which an out-of-range sample enters the
    /// window.
    learn_within: f64,
}

/// Maximum z-score. A window without any deviation makes every other value infinitely unusual. The
/// bound keeps distances comparable.
const MOST_DEVIATIONS: f64 = 1e6;

/// Minimum of `learn_within`: the largest distance at which an out-of-range sample is learnt,
/// unless a threshold is larger.
const LEARN_WITHIN: f64 = 4.0;

impl Detector for ZScore {
    type Settings = Settings;
    type Series = Series;

    /// A default window at Prometheus's usual interval of 15 s.
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

/// Mean and deviation that a sample is compared with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Normal {
    mean: f64,
    deviation: f64,
}

impl Normal {
    /// Returns true if a sample can be out of the range of this mean and this deviation.
    fn is_sound(self) -> bool {
        !self.mean.is_nan() && self.deviation >= 0.0
    }
}

impl ZScore {
    /// Returns the square of the largest distance in range, on the side of `distance`. Both are in
    /// the window's scale.
    #[inline]
    fn limit(&self, window: &Window, distance: f64) -> f64 {
        let mut spread = window.spread();
        // The comparison is written out, because `f64::max` is a call in WebAssembly and this is
        // the hot path.
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

    /// Returns the mean and the standard deviation of a window. The deviation is at least the
    /// configured minimum.
    fn normal(&self, window: &Window) -> Normal {
        let (mean, deviation) = window.mean_and_deviation();
        Normal {
            mean,
            deviation: deviation.max(self.least_deviation((mean, 1.0))),
        }
    }

    /// Returns the smallest standard deviation about a mean. `one` is the size of 1 in the scale of
    /// `mean`.
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

    /// Returns the expected range.
    fn expected(&self, Normal { mean, deviation }: Normal) -> Range {
        Range {
            low: mean - deviation * self.settings.drop,
            high: mean + deviation * self.settings.spike,
        }
    }

    /// Returns the distance of a value from the mean, in deviations.
    fn z(normal: Normal, value: f64) -> f64 {
        let distance = value - normal.mean;
        // 0 / 0 is no anomaly. Any other value / 0 is infinite, and then bounded.
        if distance == 0.0 {
            0.0
        } else {
            (distance / normal.deviation).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        }
    }

    /// Returns |z| as a share of the threshold on its side. A score above 1 is out of range.
    fn score(&self, z: f64) -> f64 {
        z.abs() / self.thresholds[side(z)]
    }
}

/// Returns the index of the threshold: 0 for a spike, 1 for a drop. Uses the sign bit, because
/// every other sample is below the mean and a branch would be predicted wrongly.
#[inline]
fn side(distance: f64) -> usize {
    (distance.to_bits() >> 63) as usize
}

anomalyzer_plugin_sdk::export_stateful_detector!(ZScore);
