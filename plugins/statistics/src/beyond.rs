//! How far a sample is beyond the samples before it, on one side.

use anomalyzer_plugin_sdk::{
    Direction, Episode, Error, Observation, Phase, Range, Rule, Told, above_zero, figure, within,
};
use serde::{Deserialize, Serialize};

use crate::Window;

/// z = (x − mean) / σ over the samples of the window before x. On the side that is watched, the
/// score is |z| as a share of the threshold; on the other it is 0. The window goes on learning
/// whatever comes.
#[derive(Debug)]
pub struct Beyond {
    side: Side,
    threshold: f64,
    /// Its square.
    squared: f64,
    window: usize,
    min_samples: usize,
    rule: Rule,
}

/// Which side is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is higher than before.
    Above,
    /// What is lower.
    Below,
}

/// What is remembered of one series.
#[derive(Debug, Serialize, Deserialize)]
pub struct Series {
    window: Window,
    episode: Episode,
}

/// A window without any deviation makes every other value infinitely unusual. Bounded, so that it
/// can be compared.
const MOST_DEVIATIONS: f64 = 1e6;
/// Where a sample would be out, σ counts as at least this share of the mean: less is nothing but
/// rounding.
const ROUNDING: f64 = 1e-9;
/// Before so many samples, or a full window if that is smaller, nothing is found.
pub(crate) const LEAST_SAMPLES: u32 = 20;

impl Beyond {
    /// Checks what the operator set, by the names of the settings.
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

    /// A series of which nothing is known.
    pub fn series(&self) -> Series {
        Series {
            window: Window::new(self.window),
            episode: Episode::default(),
        }
    }

    /// Whether it is a series of such a detector.
    pub fn fits(&self, series: &Series) -> bool {
        series.window.fits(self.window) && series.episode.is_sound()
    }

    /// Judges a sample by those before it, then learns it. The hot path: as few floating-point
    /// operations as can be, because each costs more in a sandbox that makes every NaN the same.
    /// Always inline, so that the score is left out where nobody asks for it.
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
        // On which side it is, is not asked here: every other sample is on the wrong one, and that
        // branch would be guessed wrong.
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
