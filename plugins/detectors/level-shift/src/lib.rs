//! Detector of a series that moves to another level and stays there. It compares the median of the
//! last `recent` samples with the median of the `window` samples before them, in robust standard
//! deviations of the latter.
//!
//! score = |m₁ − m₀| / (threshold · max(1.4826 · MAD₀, `relative` · |m₀|)). A spike that is shorter
//! than half of a median's samples does not change the median. The anomaly ends when the window has
//! learnt the new level, or when the old level is back.

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, above_zero, figure, within,
};
use anomalyzer_statistics::Sorted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the detector `level-shift`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Number of robust standard deviations that make another level.
    pub threshold: f64,
    /// Number of samples in the present level.
    #[schemars(range(min = 3, max = 1000))]
    pub recent: u32,
    /// Number of samples in the earlier level, before those of the present level.
    #[schemars(range(min = 10, max = 2000))]
    pub window: u32,
    /// Minimum of the deviation, as a share of the level.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub relative: f64,
    /// Number of consecutive samples without a difference in level that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 4.0,
            recent: 20,
            window: 120,
            relative: 0.01,
            clear_samples: 5,
        }
    }
}

/// Factor from a MAD to the standard deviation of Gaussian noise (Rousseeuw & Croux 1993).
const TO_DEVIATION: f64 = 1.4826;
/// Maximum distance in deviations. A level without deviation makes every other level infinitely
/// far. The bound keeps distances comparable.
const MAX_SCORE: f64 = 1e6;

/// Detector `level-shift`.
pub struct LevelShift {
    settings: Settings,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    recent: Sorted,
    before: Sorted,
    episode: Episode,
}

impl Detector for LevelShift {
    type Settings = Settings;
    type Series = Series;

    /// Both windows at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = (20 + 120) * 15_000;

    fn about() -> About {
        About {
            name: "level-shift",
            version: env!("CARGO_PKG_VERSION"),
            summary: "whether a series went to another level and stayed there",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        above_zero("threshold", settings.threshold)?;
        within("recent", settings.recent, 3..=1000)?;
        within("window", settings.window, 10..=2000)?;
        within("relative", settings.relative, 0.0..=1.0)?;
        let rule = Rule::new(1, settings.clear_samples)?;
        Ok(Self { settings, rule })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        let (recent, window) = (self.settings.recent as usize, self.settings.window as usize);
        Series {
            recent: Sorted::new(recent),
            before: Sorted::new(window),
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, _at: UnixMs, value: f64) -> Observation {
        let Series {
            recent,
            before,
            episode,
        } = series;
        if let Some(left) = recent.push(value) {
            before.push(left);
        }
        // Half of the past is enough to know its level.
        if before.len() * 2 < self.settings.window as usize {
            return Observation::quiet(0.0);
        }
        let (now, then) = (recent.median(), before.median());
        let shift = now - then;
        if shift == 0.0 {
            return episode.observe(self.rule, 0.0, |_| same(now, then));
        }
        let deviation =
            (TO_DEVIATION * before.median_deviation()).max(self.settings.relative * then.abs());
        let score = (shift / deviation).abs().min(MAX_SCORE) / self.settings.threshold;
        episode.observe(self.rule, score, |phase| {
            if phase == Phase::Clear {
                return same(now, then);
            }
            let (direction, side) = if shift > 0.0 {
                (Direction::Above, "above")
            } else {
                (Direction::Below, "below")
            };
            let room = deviation * self.settings.threshold;
            let reason = format!(
                "the last {} samples are at {}, {} {side} the level {} of the {} before them",
                recent.len(),
                figure(now),
                figure(shift.abs()),
                figure(then),
                before.len()
            );
            Told {
                direction,
                expected: Some(Range {
                    low: then - room,
                    high: then + room,
                }),
                reason,
            }
        })
    }
}

fn same(now: f64, then: f64) -> Told {
    let reason = format!(
        "the level {} is that of before, {}, again or by now",
        figure(now),
        figure(then)
    );
    Told {
        direction: Direction::Shape,
        expected: None,
        reason,
    }
}

impl StatefulDetector for LevelShift {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, |series: &Series| {
            series.recent.fits(self.settings.recent as usize)
                && series.before.fits(self.settings.window as usize)
                && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(LevelShift);
