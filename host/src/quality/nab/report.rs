//! What a detector reached, as it is printed.

use serde::Serialize;

use super::score::{PROFILES, Profile, Series, Tally};
use super::{Corpus, SHIPPED, best};
use crate::plugin::PluginInfo;

/// One detector on the whole benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The detector.
    pub detector: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
    /// Files.
    pub files: usize,
    /// Rows in them.
    pub rows: usize,
    /// Windows in them.
    pub windows: usize,
    /// At the threshold that the detector ships with, for each of [`PROFILES`].
    pub shipped: Vec<At>,
    /// At the threshold that would have been best for that profile on these files.
    pub best: Vec<At>,
    /// File by file.
    pub per_file: Vec<FileReport>,
    /// How long reading, detecting and scoring took, in seconds.
    pub seconds: f64,
}

/// A profile's score at a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct At {
    /// Name of the profile.
    pub profile: &'static str,
    /// None: no alarm at all.
    pub threshold: Option<f64>,
    /// No alarm at all is 0, perfect is 100.
    pub score: f64,
    /// Windows with an alarm.
    pub found: usize,
    /// Rows with an alarm outside of the windows.
    pub false_alarms: usize,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    /// Its rows.
    pub rows: usize,
    /// Its windows.
    pub windows: usize,
    /// What it adds to the scores at the shipped threshold.
    pub shipped: Vec<At>,
    /// What it adds to the best scores.
    pub best: Vec<At>,
}

impl Report {
    /// Scores what a detector said of all files; `seconds` is left at 0.
    pub fn new(detector: &PluginInfo, corpus: &Corpus, series: &[Series]) -> Self {
        let shipped = [Some(SHIPPED); 3];
        let best = best(series);
        let tallies = |thresholds: [Option<f64>; 3]| -> [Vec<Tally>; 3] {
            thresholds.map(|threshold| {
                let threshold = threshold.unwrap_or(f64::INFINITY);
                series
                    .iter()
                    .map(|series| series.tally(threshold))
                    .collect()
            })
        };
        let (at_shipped, at_best) = (tallies(shipped), tallies(best));
        let total = |tallies: &Vec<Tally>| {
            tallies
                .iter()
                .fold(Tally::default(), |sum, tally| sum + *tally)
        };
        let windows = series.iter().map(Series::windows).sum();
        let sum = |tallies: &[Vec<Tally>; 3], thresholds| {
            at(tallies.each_ref().map(total), thresholds, windows)
        };
        let per_file =
            corpus
                .files
                .iter()
                .zip(series)
                .enumerate()
                .map(|(index, (file, series))| {
                    let of = |tallies: &[Vec<Tally>; 3], thresholds| {
                        let tallies = tallies
                            .each_ref()
                            .map(|files| files.get(index).copied().unwrap_or_default());
                        at(tallies, thresholds, windows)
                    };
                    FileReport {
                        file: file.name.clone(),
                        rows: series.scores.len(),
                        windows: series.windows(),
                        shipped: of(&at_shipped, shipped),
                        best: of(&at_best, best),
                    }
                });
        Self {
            detector: detector.name.clone(),
            version: detector.version.clone(),
            digest: detector.digest.clone(),
            files: series.len(),
            rows: series.iter().map(|series| series.scores.len()).sum(),
            windows,
            shipped: sum(&at_shipped, shipped),
            best: sum(&at_best, best),
            per_file: per_file.collect(),
            seconds: 0.0,
        }
    }
}

/// Each profile with its own tally and threshold, as shares in a score over so many windows.
fn at(tallies: [Tally; 3], thresholds: [Option<f64>; 3], windows: usize) -> Vec<At> {
    let all = PROFILES.iter().zip(tallies).zip(thresholds);
    let at = |((profile, tally), threshold): ((&Profile, Tally), Option<f64>)| At {
        profile: profile.name,
        threshold,
        score: tally.points(profile, windows),
        found: tally.found,
        false_alarms: tally.false_alarms,
    };
    all.map(at).collect()
}
