//! Whether a sample is unusual for its hour of the day and of the week.
//!
//! Each of the 24 hours of the day and the 168 of the week keeps an exponentially weighted mean m
//! and mean distance from it (σ ≈ √(π/2) times that). score = |x − m| / (threshold · σ), by the
//! hour of the week once that was seen in `weeks` weeks, else by the hour of the day once that was
//! seen on `days` days; 0 before. What is out is learnt, but no further than the threshold: a level
//! that stays is usual after some weeks, an outage is not.

mod slot;

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, above_zero, figure, within,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use slot::Slot;

/// Settings of the detector `seasonal`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// So many standard deviations from what is usual at that hour are too many.
    pub threshold: f64,
    /// An hour of the day counts after so many days.
    #[schemars(range(min = 1, max = 1000))]
    pub days: u16,
    /// An hour of the week counts after so many weeks.
    #[schemars(range(min = 1, max = 1000))]
    pub weeks: u16,
    /// The deviation counts as at least this share of the mean.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub relative: f64,
    /// What is added to UTC, in hours, for days that begin at midnight where the users are.
    /// Daylight saving is learnt.
    #[schemars(range(min = -12, max = 14))]
    pub utc_offset: i32,
    /// So many samples in a row must be out for an anomaly to begin.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// So many samples in a row must be back for it to end.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 4.0,
            days: 3,
            weeks: 2,
            relative: 0.01,
            utc_offset: 0,
            for_samples: 2,
            clear_samples: 3,
        }
    }
}

const HOUR_MS: i64 = 3_600_000;
const DAY: usize = 24;
const WEEK: usize = 7 * DAY;
/// An hour without deviation makes every other value infinitely unusual. Bounded, so that it can be
/// compared.
const MOST: f64 = 1e6;

/// The detector.
pub struct Seasonal {
    settings: Settings,
    rule: Rule,
}

/// What is remembered of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    /// First those of the day, then those of the week.
    slots: Vec<Slot>,
    episode: Episode,
}

impl Detector for Seasonal {
    type Settings = Settings;
    type Series = Series;

    /// Two weeks: then the hours of the week count.
    const HISTORY_MS: u64 = 14 * 24 * 3_600_000;

    fn about() -> About {
        About {
            name: "seasonal",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how unusual a sample is for its hour of the day and of the week",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        above_zero("threshold", settings.threshold)?;
        within("days", settings.days, 1..=1000)?;
        within("weeks", settings.weeks, 1..=1000)?;
        within("relative", settings.relative, 0.0..=1.0)?;
        within("utc_offset", settings.utc_offset, -12..=14)?;
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        Ok(Self { settings, rule })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series {
            slots: vec![Slot::default(); DAY + WEEK],
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        let Series { slots, episode } = series;
        let hours = at.div_euclid(HOUR_MS) + i64::from(self.settings.utc_offset);
        let (day, of_day) = (
            hours.div_euclid(DAY as i64),
            hours.rem_euclid(DAY as i64) as usize,
        );
        // 1970-01-01 was a Thursday; where a week begins does not matter.
        let of_week = DAY + hours.rem_euclid(WEEK as i64) as usize;
        let (week, when) = (slots[of_week], slots[of_day]);
        let (usual, what) = if week.days_before(day) >= self.settings.weeks {
            (Some(week), "this hour of the week")
        } else {
            (
                Some(when).filter(|slot| slot.days_before(day) >= self.settings.days),
                "this hour of the day",
            )
        };
        let Some(usual) = usual else {
            slots[of_week].learn(day, value, f64::INFINITY);
            slots[of_day].learn(day, value, f64::INFINITY);
            return episode.observe(self.rule, 0.0, |_| not_known(value));
        };
        let mean = usual.mean();
        let off = value - mean;
        let deviation = usual.deviation().max(self.settings.relative * mean.abs());
        let room = self.settings.threshold * deviation;
        let score = if off == 0.0 {
            0.0
        } else {
            (off / deviation).abs().min(MOST) / self.settings.threshold
        };
        // The hour of the week may be new while that of the day is known.
        let is_new = week.days_before(day) == 0;
        slots[of_week].learn(day, value, if is_new { f64::INFINITY } else { room });
        slots[of_day].learn(day, value, room);
        episode.observe(self.rule, score, |phase| {
            let (shown, usual) = (figure(value), figure(mean));
            let (direction, side) = if off > 0.0 {
                (Direction::Above, "above")
            } else {
                (Direction::Below, "below")
            };
            let reason = match phase {
                Phase::Clear => format!("{shown} is usual at {what} again, which is {usual}"),
                _ if score * self.settings.threshold >= MOST => {
                    format!("{shown} is {side} {usual}, as ever at {what}")
                }
                _ => format!(
                    "{shown} is {:.1} standard deviations {side} {usual}, which is usual at {what}",
                    score * self.settings.threshold
                ),
            };
            Told {
                direction,
                expected: Some(Range {
                    low: mean - room,
                    high: mean + room,
                }),
                reason,
            }
        })
    }
}

/// An anomaly may last into an hour that nothing is known of.
fn not_known(value: f64) -> Told {
    let reason = format!(
        "{}; what is usual at this hour is not known yet",
        figure(value)
    );
    Told {
        direction: Direction::Shape,
        expected: None,
        reason,
    }
}

impl StatefulDetector for Seasonal {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, |series: &Series| {
            series.slots.len() == DAY + WEEK && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Seasonal);
