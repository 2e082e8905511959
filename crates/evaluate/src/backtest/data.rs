//! Reads recorded metrics from CSV files, a Prometheus, or the history.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::setup::BacktestSetup;
use crate::quality::csv;
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
    #[error("{path}: {why}")]
    File {
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason.
        why: String,
    },
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

/// Reads a CSV file, or all CSV files of a folder. The name of a file is the name of its signal.
/// The fallback detectors watch a signal that is not configured.
///
/// # Errors
/// Returns an error if a file cannot be read, or if the folder has none.
pub fn of_files(path: &Path, setup: &BacktestSetup) -> Result<Vec<Recorded>, DataError> {
    let wrong = |path: &Path, why: String| DataError::File {
        path: path.to_owned(),
        why,
    };
    let mut files = Vec::new();
    if path.is_dir() {
        find(path, 0, &mut files);
        files.sort_unstable();
        if files.is_empty() {
            return Err(wrong(
                path,
                "there is no file that ends in .csv in it".to_owned(),
            ));
        }
    } else {
        files.push(path.to_owned());
    }
    let mut recorded = Vec::new();
    for file in files {
        let text = csv::read(&file).map_err(|error| DataError::Wrong(error.to_string()))?;
        let rows = csv::rows(&text).map_err(|why| wrong(&file, why))?;
        let samples = rows.iter().filter_map(|row| {
            Some(Sample {
                at: row.at?,
                value: row.value,
            })
        });
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        recorded.push(of(&setup.signals, name, samples.collect()));
    }
    Ok(recorded)
}

fn of(signals: &[SignalConfig], name: String, mut samples: Vec<Sample>) -> Recorded {
    samples.retain(|sample| sample.value.is_finite());
    samples.sort_by_key(|sample| sample.at);
    samples.dedup_by_key(|sample| sample.at);
    let labels = Labels::new([("__name__", name.as_str())]);
    let configured = signals.iter().find(|signal| signal.name == name);
    let target = configured.and_then(|signal| signal.target.render(&labels));
    Recorded {
        target: target.unwrap_or_else(|| Target::new("", "Metric", &name)),
        series: Series { labels, samples },
        signal: name,
    }
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() && depth < MAX_DEPTH {
            find(&path, depth + 1, files);
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
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
