//! Detector of a sample that is unusual for its hour of the day and of the week.
//!
//! The detector keeps an exponentially weighted mean m for each of the 24 hours of the day and the
//! 168 hours of the week. It also keeps the mean distance from m, and σ ≈ √(π/2) times that
//! distance. score = |x − m| / (threshold · σ). m and σ are those of the hour of the week if it was
//! seen in `weeks` weeks. Otherwise they are those of the hour of the day if it was seen on `days`
//! days. Before that, the score is 0. A sample that is out of range is learnt, but no further from
//! m than the threshold. A level that stays is therefore usual after some weeks. An outage is not.

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
    /// Number of standard deviations from the usual value at that hour that make an anomaly.
    pub threshold: f64,
    /// Number of days after which an hour of the day counts.
    #[schemars(range(min = 1, max = 1000))]
    pub days: u16,
    /// Number of weeks after which an hour of the week counts.
    #[schemars(range(min = 1, max = 1000))]
    pub weeks: u16,
    /// Minimum of the deviation, as a share of the mean.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub relative: f64,
    /// Offset from UTC, in hours, so that days begin at midnight where the users are. Daylight
    /// saving is learnt.
    #[schemars(range(min = -12, max = 14))]
    pub utc_offset: i32,
    /// Number of consecutive unusual samples that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive usual samples that end an anomaly.
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
/// Maximum distance in deviations. An hour without deviation makes every other value infinitely
/// unusual. The bound keeps distances comparable.
const MAX_SCORE: f64 = 1e6;

/// Detector `seasonal`.
pub struct Seasonal {
    settings: Settings,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    /// Slots of the hours of the day, then slots of the hours of the week.
    slots: Vec<Slot>,
    episode: Episode,
}

impl Detector for Seasonal {
    type Settings = Settings;
    type Series = Series;

    /// Two weeks, after which the hours of the week count.
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
        // 1970-01-01 was a Thursday. The day on which a week begins does not matter.
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
            (off / deviation).abs().min(MAX_SCORE) / self.settings.threshold
        };
        // The hour of the week may be new while the hour of the day is known.
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
                _ if score * self.settings.threshold >= MAX_SCORE => {
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

/// Returns the words for an anomaly that lasts into an hour whose usual value is not known.
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
