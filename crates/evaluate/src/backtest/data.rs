//! Reads recorded metrics from CSV files, a Prometheus, or the history.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Serialize;

use super::setup::BacktestSetup;
use crate::csv::{self, CsvError, CsvOptions, ReadReport};
use anomalyzer_collect::{SignalConfig, SignalSource};
use anomalyzer_domain::{Labels, Sample, Series, Target, UnixMs, millis};
use anomalyzer_history::{HistoryError, HistoryReader};

/// Points of a series in one range query. Prometheus answers at most 11,000.
const MAX_POINTS: i64 = 10_000;
/// Depth of the subfolders that are searched.
const MAX_DEPTH: usize = 8;

/// A recorded series of a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Name of the signal.
    pub signal: String,
    /// Target of the signal.
    pub target: Target,
    /// Samples in ascending order of time.
    pub series: Series,
}

/// Data that cannot be read, or that is empty.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// An unusable file or folder, with the remedy.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The history holds no samples yet.
    #[error("the history holds no incident with samples")]
    Nothing,
    /// Any other reason, with the remedy.
    #[error("{0}")]
    Wrong(String),
}

/// Recorded metrics, with the counts of the rows that they were read from.
#[derive(Clone, Debug, Default)]
pub struct RecordedData {
    /// Recorded series.
    pub series: Vec<Recorded>,
    /// Files that were read. Empty for other sources.
    pub files: Vec<ReadFile>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReadFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Counts of its rows.
    #[serde(flatten)]
    pub report: ReadReport,
}

/// Reads a CSV file, or all CSV files of a folder. The name of a file is the name of its signal.
/// The fallback detectors watch a signal that is not configured.
///
/// # Errors
/// Returns an error if a file cannot be read, if more than a few of its rows are unreadable, or if
/// the folder has none. A backtest on a part of the rows could pass because the rest is missing.
pub fn of_files(
    path: &Path,
    setup: &BacktestSetup,
    options: &CsvOptions,
) -> Result<RecordedData, DataError> {
    let mut files = Vec::new();
    if path.is_dir() {
        find(path, 0, &mut files)?;
        files.sort_unstable();
        if files.is_empty() {
            let why = "there is no file that ends in .csv in it";
            return Err(CsvError::new(path, why).into());
        }
    } else {
        files.push(path.to_owned());
    }
    let mut data = RecordedData::default();
    for path in files {
        let name = path.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if data.series.iter().any(|one| one.signal == name) {
            let why = format!("another file has the name of its signal, `{name}`: rename one");
            return Err(CsvError::new(&path, why).into());
        }
        let (samples, report) = csv::load(&path, options, |table| (table.samples, table.report))?;
        if let Some(why) = report.refusal() {
            return Err(CsvError::new(&path, why).into());
        }
        data.series.push(of(&setup.signals, name, samples));
        data.files.push(ReadFile { path, report });
    }
    Ok(data)
}

fn of(signals: &[SignalConfig], name: String, samples: Vec<Sample>) -> Recorded {
    let labels = Labels::new([("__name__", name.as_str())]);
    let configured = signals.iter().find(|signal| signal.name == name);
    let target = configured.and_then(|signal| signal.target.render(&labels));
    Recorded {
        target: target.unwrap_or_else(|| Target::new("", "Metric", &name)),
        series: Series { labels, samples },
        signal: name,
    }
}

/// Finds the CSV files in a folder. A part that cannot be read is an error, because a backtest
/// without it could pass.
fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CsvError> {
    let unreadable = |error: io::Error| CsvError::new(folder, error.to_string());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            if depth == MAX_DEPTH {
                let why = format!("it is more than {MAX_DEPTH} folders deep: move it up");
                return Err(CsvError::new(&path, why));
            }
            find(&path, depth + 1, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the samples of the configured queries between two times from Prometheus.
///
/// # Errors
/// Returns an error if no query is configured, or if Prometheus does not answer.
pub async fn of_prometheus(
    setup: &BacktestSetup,
    from: UnixMs,
    to: UnixMs,
    step: Option<Duration>,
) -> Result<Vec<Recorded>, DataError> {
    let source = anomalyzer_collect::source(&setup.collect)
        .map_err(|error| DataError::Wrong(error.to_string()))?;
    let mut recorded: Vec<Recorded> = Vec::new();
    for signal in setup
        .signals
        .iter()
        .filter(|signal| matches!(signal.source, SignalSource::Query(_)))
    {
        let step = step.or(signal.interval).unwrap_or(setup.collect.interval);
        let span = millis(step).max(1).saturating_mul(MAX_POINTS);
        let mut at = from;
        while at <= to {
            let until = to.min(at.saturating_add(span));
            let past = source.backfill(signal, at, until, step).await;
            let past = past
                .map_err(|error| DataError::Wrong(format!("signal `{}`: {error}", signal.name)))?;
            for series in past {
                let Some(target) = signal.target.render(&series.labels) else {
                    continue;
                };
                let known = recorded.iter_mut().find(|one| {
                    one.signal == signal.name
                        && one.series.labels == series.labels
                        && one.target == target
                });
                match known {
                    Some(known) => known.series.samples.extend(series.samples),
                    None => recorded.push(Recorded {
                        signal: signal.name.clone(),
                        target,
                        series,
                    }),
                }
            }
            at = until.saturating_add(1);
        }
    }
    for one in &mut recorded {
        let samples = &mut one.series.samples;
        samples.retain(|sample| sample.value.is_finite());
        samples.sort_by_key(|sample| sample.at);
        samples.dedup_by_key(|sample| sample.at);
    }
    if recorded.is_empty() {
        let why = "nothing was answered: the configuration needs signals with a `query`, and --start and --end a time of \
                   which something is kept";
        return Err(DataError::Wrong(why.to_owned()));
    }
    Ok(recorded)
}

/// Reads the samples around the onsets of all incidents from the history.
///
/// # Errors
/// Returns an error if the history cannot be read, or if it holds no samples.
pub async fn of_history(history: &HistoryReader) -> Result<Vec<Recorded>, DataError> {
    let mut recorded: Vec<Recorded> = Vec::new();
    for incident in history.all_incidents().await? {
        for (finding, series) in incident.findings.iter().zip(incident.samples) {
            let known = recorded.iter_mut().find(|one| {
                one.signal == finding.signal
                    && one.target == incident.target
                    && one.series.labels == series.labels
            });
            match known {
                Some(known) => known.series.samples.extend(series.samples),
                None => {
                    let (signal, target) = (finding.signal.clone(), incident.target.clone());
                    recorded.push(Recorded {
                        signal,
                        target,
                        series,
                    });
                }
            }
        }
    }
    for one in &mut recorded {
        let samples = &mut one.series.samples;
        samples.sort_by_key(|sample| sample.at);
        samples.dedup_by_key(|sample| sample.at);
    }
    recorded.retain(|one| !one.series.samples.is_empty());
    if recorded.is_empty() {
        return Err(DataError::Nothing);
    }
    Ok(recorded)
}
