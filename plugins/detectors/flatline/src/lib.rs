//! Detector of a series that used to move and has stopped: a stuck sensor, an exporter that repeats
//! itself, a queue that nobody processes. The host itself finds series without any samples.
//!
//! A run is a sequence of consecutive samples that are equal within `tolerance`. score = length of
//! the run / max(`samples`, `factor` · L). L is the longest earlier run. Each move reduces L by a
//! hundredth. A series that never moved can't have stopped: the detector finds nothing before
//! `moves` changes.

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Rule, Saved, StatefulDetector,
    Told, UnixMs, figure, utc, within,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the detector `flatline`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Minimum number of consecutive equal samples in an anomaly.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub samples: u32,
    /// Minimum length of an anomaly as a multiple of the longest earlier run of equal samples.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub factor: f64,
    /// Largest difference between samples that count as equal, in the unit of the series.
    pub tolerance: f64,
    /// Number of moves of the series before the first finding.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub moves: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            samples: 20,
            factor: 3.0,
            tolerance: 0.0,
            moves: 20,
        }
    }
}

/// Share of the longest run that each move forgets.
const FORGET: f64 = 0.01;

/// Detector `flatline`.
pub struct Flatline {
    settings: Settings,
    rule: Rule,
}

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    /// Value of the present run, and the time of its first sample.
    level: f64,
    since: UnixMs,
    /// Number of samples in the present run.
    run: u32,
    /// Length of the longest run that is over, and the number of moves.
    longest: f64,
    moves: u32,
    episode: Episode,
}

impl Detector for Flatline {
    type Settings = Settings;
    type Series = Series;

    /// An hour: a few hundred samples at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = 3_600_000;

    fn about() -> About {
        About {
            name: "flatline",
            version: env!("CARGO_PKG_VERSION"),
            summary: "whether a series that used to move has stopped",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        within("samples", settings.samples, 2..=1_000_000)?;
        within("factor", settings.factor, 1.0..=1000.0)?;
        within("tolerance", settings.tolerance, 0.0..=f64::MAX)?;
        within("moves", settings.moves, 1..=1_000_000)?;
        Ok(Self {
            settings,
            rule: Rule::new(1, 1)?,
        })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series {
            level: f64::NAN,
            since: 0,
            run: 0,
            longest: 0.0,
            moves: 0,
            episode: Episode::default(),
        }
    }

    #[inline]
    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        let before = series.level;
        // Before the first sample, `before` is NaN. The comparison is then false.
        if (value - before).abs() <= self.settings.tolerance {
            series.run = series.run.saturating_add(1);
        } else {
            if !before.is_nan() {
                let run = f64::from(series.run);
                let forgotten = series.longest * (1.0 - FORGET);
                // A run that was an anomaly does not count as usual.
                series.longest = if series.episode.is_calm() && run > forgotten {
                    run
                } else {
                    forgotten
                };
                series.moves = series.moves.saturating_add(1);
            }
            (series.level, series.since, series.run) = (value, at, 1);
        }
        let limit = (self.settings.factor * series.longest).max(f64::from(self.settings.samples));
        let score = if series.moves < self.settings.moves {
            0.0
        } else {
            f64::from(series.run) / limit
        };
        let (run, longest, since) = (series.run, series.longest, series.since);
        series.episode.observe(self.rule, score, |phase| {
            let reason = match phase {
                Phase::Clear => format!(
                    "it moves again, from {} to {}",
                    figure(before),
                    figure(value)
                ),
                Phase::Onset | Phase::Ongoing => format!(
                    "{} for {run} samples in a row, since {}; {} at most are usual",
                    figure(value),
                    utc(since),
                    longest.ceil()
                ),
            };
            Told {
                direction: Direction::Shape,
                expected: None,
                reason,
            }
        })
    }
}

impl StatefulDetector for Flatline {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, |series: &Series| {
            (0.0..=f64::from(u32::MAX)).contains(&series.longest) && series.episode.is_sound()
        })
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Flatline);
