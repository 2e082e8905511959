//! Detector that measures how fast errors burn the budget of a service level objective, over
//! several windows at once.
//!
//! The series is the ratio of failed requests to all requests. The budget is 1 − objective. The
//! burn rate of a window is its mean ratio divided by the budget: at 1, the budget of 30 days lasts
//! 30 days. An alarm needs a long window, so that it matters, and a short window, so that the
//! errors still go on. The source is "The Site Reliability Workbook" (Beyer et al. 2018), chapter
//! 5, "multiwindow, multi-burn-rate alerts". The rates are also from there: 14.4 over 1 h and 5
//! min, 6 over 6 h and 30 min, 1 over 3 days and 6 h.
//!
//! score = max over the pairs of min(burn long, burn short) / rate. A pair counts once a third of
//! its long window is known.

mod slots;

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, above_zero, figure, within,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use slots::Slots;

/// Settings of the detector `slo-burn`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Share of requests that must succeed: 0.999 leaves a budget of one in a thousand.
    #[schemars(range(min = 0.0, max = 0.999_999_999))]
    pub objective: f64,
    /// Factor on all rates: 2 alarms at twice the burn rate.
    pub factor: f64,
    /// Number of consecutive samples with a slow enough burn rate that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            objective: 0.999,
            factor: 1.0,
            clear_samples: 3,
        }
    }
}

/// Long window, its short window, and the burn rate that is too fast.
struct Pair {
    long: Window,
    short: Window,
    rate: f64,
}

/// Window in one of the two rings of slots.
#[derive(Clone, Copy)]
struct Window {
    name: &'static str,
    ring: usize,
    index: usize,
}

const MINUTE_MS: i64 = 60_000;
/// Width of the slots in each ring, and the sizes of its windows in slots: 5, 30 and 60 slots of a
/// minute; 12 and 144 slots of half an hour.
const RINGS: [(i64, &[usize]); 2] = [(MINUTE_MS, &[5, 30, 60]), (30 * MINUTE_MS, &[12, 144])];
const SIX_HOURS: Window = Window {
    name: "6 h",
    ring: 1,
    index: 0,
};
const PAIRS: [Pair; 3] = [
    Pair {
        long: Window {
            name: "1 h",
            ring: 0,
            index: 2,
        },
        short: Window {
            name: "5 min",
            ring: 0,
            index: 0,
        },
        rate: 14.4,
    },
    Pair {
        long: SIX_HOURS,
        short: Window {
            name: "30 min",
            ring: 0,
            index: 1,
        },
        rate: 6.0,
    },
    Pair {
        long: Window {
            name: "3 days",
            ring: 1,
            index: 1,
        },
        short: SIX_HOURS,
        rate: 1.0,
    },
];
/// Minimum share of a long window that must be known.
const KNOWN: f64 = 1.0 / 3.0;
/// Period of the budget, in days.
const PERIOD_DAYS: f64 = 30.0;

/// Detector `slo-burn`.
pub struct SloBurn {
    budget: f64,
    factor: f64,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    rings: [Slots; RINGS.len()],
    episode: Episode,
}

/// Burn rates and score of one pair.
#[derive(Clone, Copy)]
struct Burn {
    score: f64,
    long: f64,
    short: f64,
}

impl Series {
    fn new() -> Self {
        Self {
            rings: RINGS.map(|(width, windows)| Slots::new(width, windows)),
            episode: Episode::default(),
        }
    }

    /// Returns the burn rates of one pair, in budgets. The score is 0 while too little is known.
    fn burn(&self, pair: &Pair, detector: &SloBurn) -> Burn {
        let mean = |window: Window| self.rings[window.ring].mean(window.index);
        let ((long, known), (short, _)) = (mean(pair.long), mean(pair.short));
        let (long, short) = (long / detector.budget, short / detector.budget);
        let least = if long < short { long } else { short };
        let score = if known >= KNOWN {
            least / (pair.rate * detector.factor)
        } else {
            0.0
        };
        Burn { score, long, short }
    }
}

impl Detector for SloBurn {
    type Settings = Settings;
    type Series = Series;

    /// The longest window.
    const HISTORY_MS: u64 = 3 * 24 * 3_600_000;

    fn about() -> About {
        About {
            name: "slo-burn",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how fast errors burn the budget of a service level objective",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        within("objective", settings.objective, 0.0..=0.999_999_999)?;
        above_zero("factor", settings.factor)?;
        let rule = Rule::new(1, settings.clear_samples)?;
        Ok(Self {
            budget: 1.0 - settings.objective,
            factor: settings.factor,
            rule,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series::new()
    }

    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        // The value is a ratio, but the division of two rates may leave the range of 0 to 1.
        let ratio = value.clamp(0.0, 1.0);
        series
            .rings
            .iter_mut()
            .for_each(|ring| ring.observe(at, ratio));
        let burns = PAIRS.each_ref().map(|pair| series.burn(pair, self));
        let (pair, burn) = PAIRS
            .iter()
            .zip(burns)
            .fold((&PAIRS[0], burns[0]), |most, pair| {
                if pair.1.score > most.1.score {
                    pair
                } else {
                    most
                }
            });
        series.episode.observe(self.rule, burn.score, |phase| {
            let Burn { long, short, .. } = burn;
            let windows = format!(
                "{} times its rate over {}, {} times over {}",
                figure(long),
                pair.long.name,
                figure(short),
                pair.short.name
            );
            let reason = match phase {
                Phase::Clear => format!("the budget burns {windows}: slowly enough again"),
                Phase::Onset | Phase::Ongoing => format!(
                    "the budget burns {windows}, where {} is too fast; so a budget of {PERIOD_DAYS} days is gone in {} days",
                    figure(pair.rate * self.factor),
                    figure(PERIOD_DAYS / long)
                ),
            };
            let limit = (self.budget * pair.rate * self.factor).min(1.0);
            let expected = Some(Range { low: f64::NEG_INFINITY, high: limit });
            Told { direction: Direction::Above, expected, reason }
        })
    }
}

impl StatefulDetector for SloBurn {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        let like = Series::new();
        saved.read_if(Self::LAYOUT, |series: &Series| {
            series
                .rings
                .iter()
                .zip(&like.rings)
                .all(|(ring, like)| ring.fits(like))
                && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(SloBurn);
