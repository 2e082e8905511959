//! Detector of a series that will cross a limit if its trend continues: a disk that fills, a quota
//! that runs out, memory that leaks.
//!
//! score = horizon / (time until the line crosses the limit), at most 10. The score is also 10 once
//! the series has crossed the limit. The line is that of Theil and Sen over the last `window`
//! (`trend`). The detector finds nothing while the trend leads away from the limit or is not known.

mod trend;

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Saved,
    StatefulDetector, Told, UnixMs, above_zero, figure, utc,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use trend::{Line, Trend};

/// Settings of the detector `forecast-breach`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Limit that the series must not cross, in the unit of the series: 0.9 of a disk.
    pub limit: f64,
    /// Side of the limit that is bad.
    pub bad: Side,
    /// Time ahead in which the series must not cross the limit, in seconds.
    pub horizon_seconds: f64,
    /// Time over which the trend is taken, in seconds.
    pub window_seconds: f64,
    /// Number of consecutive samples with a predicted breach that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples without a predicted breach that end an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

/// Side of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Values above the limit are bad.
    Above,
    /// Values below the limit are bad.
    Below,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: 0.9,
            bad: Side::Above,
            horizon_seconds: 4.0 * 3600.0,
            window_seconds: 3600.0,
            for_samples: 3,
            clear_samples: 5,
        }
    }
}

/// Score of a crossed limit, and the highest score of a forecast.
const CROSSED: f64 = 10.0;
/// Maximum time ahead, in seconds. It keeps times within the calendar.
const MOST_SECONDS: f64 = 1e10;

/// Detector `forecast-breach`.
pub struct ForecastBreach {
    settings: Settings,
    rule: Rule,
    horizon_ms: f64,
    window_ms: i64,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    trend: Trend,
    episode: Episode,
}

impl Detector for ForecastBreach {
    type Settings = Settings;
    type Series = Series;

    /// The default window.
    const HISTORY_MS: u64 = 3_600_000;

    fn about() -> About {
        About {
            name: "forecast-breach",
            version: env!("CARGO_PKG_VERSION"),
            summary: "when a series will cross a limit if it goes on as it does",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        if !settings.limit.is_finite() {
            return Err(Error::Invalid(
                "`limit` is no number: give what must not be crossed".to_owned(),
            ));
        }
        for (key, seconds) in [
            ("horizon_seconds", settings.horizon_seconds),
            ("window_seconds", settings.window_seconds),
        ] {
            above_zero(key, seconds)?;
            if !(1.0..=MOST_SECONDS).contains(&seconds) {
                return Err(Error::Invalid(format!(
                    "`{key}` is {seconds}: give 1 to {MOST_SECONDS}"
                )));
            }
        }
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        let window_ms = (settings.window_seconds * 1000.0) as i64;
        Ok(Self {
            rule,
            horizon_ms: settings.horizon_seconds * 1000.0,
            window_ms,
            settings,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series {
            trend: Trend::new(),
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        let Series { trend, episode } = series;
        let line = trend.observe(at, value, self.window_ms);
        let left = self.left(value, at, line);
        let score = if left > 0.0 {
            (self.horizon_ms / left).min(CROSSED)
        } else {
            CROSSED
        };
        episode.observe(self.rule, score, |phase| {
            let (shown, limit) = (figure(value), figure(self.settings.limit));
            let (direction, expected) = match self.settings.bad {
                Side::Above => (
                    Direction::Above,
                    Range {
                        low: f64::NEG_INFINITY,
                        high: self.settings.limit,
                    },
                ),
                Side::Below => (
                    Direction::Below,
                    Range {
                        low: self.settings.limit,
                        high: f64::INFINITY,
                    },
                ),
            };
            let a_day = line.map_or(0.0, |line| line.slope * 86_400_000.0);
            let reason = match phase {
                Phase::Clear => {
                    format!("{shown} will not cross the limit of {limit} within the horizon")
                }
                _ if left <= 0.0 => format!("{shown} has crossed the limit of {limit}"),
                _ => format!(
                    "{shown}, changing by {} a day, will cross the limit of {limit} at {}",
                    figure(a_day),
                    utc(at.saturating_add(left as i64))
                ),
            };
            Told {
                direction,
                expected: Some(expected),
                reason,
            }
        })
    }
}

impl ForecastBreach {
    /// Returns the milliseconds until the series crosses the limit: 0 if it has crossed it,
    /// infinite if it never will.
    fn left(&self, value: f64, at: UnixMs, line: Option<Line>) -> f64 {
        let sign = match self.settings.bad {
            Side::Above => 1.0,
            Side::Below => -1.0,
        };
        if (value - self.settings.limit) * sign >= 0.0 {
            return 0.0;
        }
        let Some(line) = line else {
            return f64::INFINITY;
        };
        let (room, speed) = (
            (self.settings.limit - line.value(at)) * sign,
            line.slope * sign,
        );
        // The line has crossed the limit, but the sample has not. The breach is about to happen, so
        // the answer is the smallest time above 0.
        if speed > 0.0 {
            (room / speed).max(1.0)
        } else {
            f64::INFINITY
        }
    }
}

impl StatefulDetector for ForecastBreach {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, |series: &Series| {
            series.trend.fits() && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(ForecastBreach);
