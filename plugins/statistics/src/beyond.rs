//! Distance of a sample beyond the samples before it, on one side.

use anomalyzer_plugin_sdk::{
    Direction, Episode, Error, Observation, Phase, Range, Rule, Told, above_zero, figure, within,
};
use serde::{Deserialize, Serialize};

use crate::Window;

/// Judge by z = (x − mean) / σ over the samples of the window before x. On the watched side, the
/// score is |z| as a share of the threshold. On the other side, it is 0. The window learns every
/// sample.
#[derive(Debug)]
pub struct Beyond {
    side: Side,
    threshold: f64,
    /// Square of the threshold.
    squared: f64,
    window: usize,
    min_samples: usize,
    rule: Rule,
}

/// Side that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values higher than before.
    Above,
    /// Values lower than before.
    Below,
}

/// State of one series.
#[derive(Debug, Serialize, Deserialize)]
pub struct Series {
    window: Window,
    episode: Episode,
}

/// Maximum z-score. A window without any deviation makes every other value infinitely unusual. The
/// bound keeps distances comparable.
const MOST_DEVIATIONS: f64 = 1e6;
/// Minimum of σ as a share of the mean, for a sample that would be out of range. A smaller σ is
/// only rounding.
const ROUNDING: f64 = 1e-9;
/// Number of samples before the first finding, or a full window if that is smaller.
pub(crate) const LEAST_SAMPLES: u32 = 20;

impl Beyond {
    /// Makes a judge from the operator's settings. Returns an error that names the setting if it is
    /// invalid.
    pub fn new(side: Side, threshold: f64, window: u32, rule: Rule) -> Result<Self, Error> {
        above_zero("threshold", threshold)?;
        within("window", window, 2..=10_000)?;
        let min_samples = window.min(LEAST_SAMPLES) as usize;
        Ok(Self {
            side,
            threshold,
            squared: threshold * threshold,
            window: window as usize,
            min_samples,
            rule,
        })
    }

    /// Returns a series without samples.
    pub fn series(&self) -> Series {
        Series {
            window: Window::new(self.window),
            episode: Episode::default(),
        }
    }

    /// Returns true if the series can belong to this judge.
    pub fn fits(&self, series: &Series) -> bool {
        series.window.fits(self.window) && series.episode.is_sound()
    }

    /// Judges a sample by those before it, then learns it. This is the hot path. It has as few
    /// floating-point operations as possible, because each costs more in a sandbox that makes all
    /// NaNs equal. It is always inlined, so that the compiler leaves out the score if nobody asks
    /// for it.
    #[inline(always)]
    pub fn observe(&self, series: &mut Series, value: f64) -> Observation {
        let Series { window, episode } = series;
        if window.len() < self.min_samples {
            window.push(value);
            return Observation::quiet(0.0);
        }
        // Both are multiplied by the number of samples.
        let distance = window.distance(value);
        let distance = if self.side == Side::Above {
            distance
        } else {
            -distance
        };
        let limit = self.squared * window.spread();
        let square = distance * distance;
        // The side is not checked here. Every other sample is on the side that is not watched, and
        // the branch would be predicted wrongly.
        if (square < limit || square == 0.0) && episode.is_calm() {
            window.push(value);
            return Observation::quiet(if distance > 0.0 {
                distance / limit.sqrt()
            } else {
                0.0
            });
        }
        self.unusual(series, value)
    }

    #[cold]
    #[inline(never)]
    fn unusual(&self, series: &mut Series, value: f64) -> Observation {
        let (mean, deviation) = series.window.mean_and_deviation();
        let deviation = deviation.max(ROUNDING * mean.abs());
        let over = series.window.len();
        series.window.push(value);
        let (sign, direction, side) = match self.side {
            Side::Above => (1.0, Direction::Above, "above"),
            Side::Below => (-1.0, Direction::Below, "below"),
        };
        let distance = (value - mean) * sign;
        let z = if distance > 0.0 {
            (distance / deviation).min(MOST_DEVIATIONS)
        } else {
            0.0
        };
        series.episode.observe(self.rule, z / self.threshold, |phase| {
            let (shown, about) = (figure(value), figure(mean));
            let reason = match phase {
                Phase::Clear => format!("{shown} is near the mean {about} of the last {over} samples again"),
                _ if z >= MOST_DEVIATIONS => {
                    format!("{shown} is {side} the constant {about} of the last {over} samples")
                }
                _ => {
                    format!("{shown} is {z:.1} standard deviations {side} the mean {about} of the last {over} samples")
                }
            };
            let limit = mean + sign * self.threshold * deviation;
            let expected = match self.side {
                Side::Above => Range { low: f64::NEG_INFINITY, high: limit },
                Side::Below => Range { low: limit, high: f64::INFINITY },
            };
            Told { direction, expected: Some(expected), reason }
        })
    }
}
