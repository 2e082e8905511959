//! Result of a detector, in the form that is printed.

use serde::Serialize;

use super::score::{PROFILES, Profile, Series, Tally};
use super::{Corpus, SHIPPED, Scored, best};
use crate::csv::ReadReport;
use anomalyzer_plugin_host::PluginInfo;

/// Result of one detector on the whole benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the detector.
    pub detector: String,
    /// Version of the detector.
    pub version: String,
    /// SHA-256 of the detector's bytes, in hex.
    pub digest: String,
    /// Number of files.
    pub files: usize,
    /// Number of rows in all files.
    pub rows: usize,
    /// Number of unreadable rows in all files.
    pub unreadable: usize,
    /// Number of windows in all files.
    pub windows: usize,
    /// Scores at the threshold that the detector ships with, for each of [`PROFILES`].
    pub shipped: Vec<At>,
    /// Scores at the threshold that would have been best for the profile on these files.
    pub best: Vec<At>,
    /// Results by file.
    pub per_file: Vec<FileReport>,
    /// Duration of reading, detecting and scoring, in seconds.
    pub seconds: f64,
}

/// Score of a profile at a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct At {
    /// Name of the profile.
    pub profile: &'static str,
    /// Threshold. `None` means no alarm at all.
    pub threshold: Option<f64>,
    /// Score, from 0 for no alarm at all to 100 for a perfect detector.
    pub score: f64,
    /// Number of windows with an alarm.
    pub found: usize,
    /// Number of rows with an alarm outside of the windows.
    pub false_alarms: usize,
}

/// Result on one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    /// Name of the file.
    pub file: String,
    /// Number of rows.
    pub rows: usize,
    /// Counts of the rows by their fate.
    pub input: ReadReport,
    /// Number of windows.
    pub windows: usize,
    /// Contribution to the scores at the shipped threshold.
    pub shipped: Vec<At>,
    /// Contribution to the best scores.
    pub best: Vec<At>,
}

impl Report {
    /// Scores the verdicts of a detector on all files. Leaves `seconds` at 0.
    pub fn new(detector: &PluginInfo, corpus: &Corpus, scored: Vec<Scored>) -> Self {
        let (series, inputs): (Vec<Series>, Vec<ReadReport>) = scored
            .into_iter()
            .map(|scored| (scored.series, scored.input))
            .unzip();
        let unreadable = inputs.iter().map(|input| input.unreadable).sum();
        let shipped = [Some(SHIPPED); 3];
        let best = best(&series);
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
        let per_file = corpus
            .files
            .iter()
            .zip(series.iter().zip(inputs))
            .enumerate()
            .map(|(index, (file, (series, input)))| {
                let of = |tallies: &[Vec<Tally>; 3], thresholds| {
                    let tallies = tallies
                        .each_ref()
                        .map(|files| files.get(index).copied().unwrap_or_default());
                    at(tallies, thresholds, windows)
                };
                FileReport {
                    file: file.name.clone(),
                    rows: series.scores.len(),
                    input,
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
            unreadable,
            windows,
            shipped: sum(&at_shipped, shipped),
            best: sum(&at_best, best),
            per_file: per_file.collect(),
            seconds: 0.0,
        }
    }
}

/// Returns each profile's tally at its threshold as a share of a score over `windows` windows.
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
