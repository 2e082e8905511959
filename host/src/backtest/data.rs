//! Recorded metrics: from CSV files, a Prometheus, or the history.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::collect::{self, SignalConfig, SignalSource};
use crate::config::Config;
use crate::domain::{Labels, Sample, Series, Target, UnixMs, millis};
use crate::history::{HistoryError, HistoryReader};
use crate::quality::csv;

/// Prometheus answers at most 11,000 points a series.
const MOST_POINTS: i64 = 10_000;
/// Folders within folders.
const DEEPEST: usize = 8;

/// A series of a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The signal.
    pub signal: String,
    /// What it speaks for.
    pub target: Target,
    /// Samples by rising time.
    pub series: Series,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or a folder, with the remedy.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It holds nothing of use yet.
    #[error("the history holds no incident with samples")]
    Nothing,
    /// Something else, with the remedy.
    #[error("{0}")]
    Wrong(String),
}

/// A CSV file, or all of a folder. The name of a file is that of its signal; one that is not
/// configured is watched by the fallback detectors.
///
/// # Errors
/// A file can't be read, or there is none.
pub fn of_files(path: &Path, config: &Config) -> Result<Vec<Recorded>, DataError> {
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
    let signals = config.signals();
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
        recorded.push(of(&signals, name, samples.collect()));
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
        if path.is_dir() && depth < DEEPEST {
            find(&path, depth + 1, files);
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
}

/// What a Prometheus kept of the configured queries between two times.
///
/// # Errors
/// No query is configured, or it does not answer.
pub async fn of_prometheus(
    config: &Config,
    from: UnixMs,
    to: UnixMs,
    step: Option<Duration>,
) -> Result<Vec<Recorded>, DataError> {
    let source =
        collect::source(&config.collect).map_err(|error| DataError::Wrong(error.to_string()))?;
    let mut recorded: Vec<Recorded> = Vec::new();
    for signal in config
        .signals()
        .iter()
        .filter(|signal| matches!(signal.source, SignalSource::Query(_)))
    {
        let step = step.or(signal.interval).unwrap_or(config.collect.interval);
        let span = millis(step).max(1).saturating_mul(MOST_POINTS);
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

/// What the history holds of the incidents: the samples around their onsets.
///
/// # Errors
/// It can't be read, or there are none.
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
