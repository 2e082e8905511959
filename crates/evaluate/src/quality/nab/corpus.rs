//! Data and labels of the benchmark.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::score::{Series, Window};
use crate::csv::{self, CsvOptions, ReadReport, Row, Table, parse_time};
use crate::quality::{Detectors, QualityError, judge, over};
use anomalyzer_domain::UnixMs;
use anomalyzer_plugin_host::PluginInfo;

/// Path of the windows in the folder of the benchmark. The series are in the folder `data`.
const WINDOWS: &str = "labels/combined_windows.json";

/// All files of the benchmark by name.
pub struct Corpus {
    /// Labelled files. Their rows are read when a detector runs.
    pub files: Vec<Labelled>,
    options: CsvOptions,
}

/// Result of a detector on one file.
pub struct Scored {
    /// Scores and windows.
    pub series: Series,
    /// Counts of the file's rows.
    pub input: ReadReport,
}

/// A file with the times of its anomalies.
pub struct Labelled {
    /// Name of the file in the labels, like `realTraffic/speed_t4013.csv`.
    pub name: String,
    path: PathBuf,
    windows: Vec<(UnixMs, UnixMs)>,
}

impl Corpus {
    /// Reads the labels.
    ///
    /// # Errors
    /// Returns an error if the labels cannot be read or have no window.
    pub fn load(folder: &Path, options: CsvOptions) -> Result<Self, QualityError> {
        let path = folder.join(WINDOWS);
        let remedy = "give the folder of the benchmark, with `data` and `labels` in it";
        let text = fs::read_to_string(&path)
            .map_err(|error| QualityError::unreadable(&path, &format!("{error}; {remedy}")))?;
        let windows: BTreeMap<String, Vec<(String, String)>> =
            serde_json::from_str(&text).map_err(|error| QualityError::unreadable(&path, &error))?;
        if windows.values().all(Vec::is_empty) {
            return Err(QualityError::unreadable(
                &path,
                "there is no window in it, so that nothing can be scored",
            ));
        }
        let files = windows.into_iter().map(|(name, windows)| {
            let windows = windows.iter().map(times).collect::<Option<Vec<_>>>();
            let path = folder.join("data").join(&name);
            windows.map(|windows| Labelled {
                name,
                path,
                windows,
            })
        });
        let files = files.collect::<Option<Vec<_>>>();
        Ok(Self {
            files: files.ok_or_else(|| {
                QualityError::unreadable(&path, "a window has no time from and to")
            })?,
            options,
        })
    }

    /// Runs a detector over all files, with a fresh instance for each. `done` receives the number
    /// of finished files. Blocks.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or does not match its labels, if the detector
    /// failed, or if `stop` was cancelled.
    pub fn run(
        &self,
        detectors: &Detectors,
        detector: &PluginInfo,
        stop: &CancellationToken,
        done: impl Fn(usize) + Sync,
    ) -> Result<Vec<Scored>, QualityError> {
        let files = over(&self.files, stop, done, |file| {
            let judged = self.read(file, |table| {
                let mut monitor = detectors.open(detector)?;
                let judged = judge(&mut monitor, &file.name, &table.samples);
                let judged = judged.map_err(|error| {
                    QualityError::plugin(format!("{} on {}", detector.name, file.name), error)
                })?;
                // Rows that the detector did not see count as calm.
                let mut scores = vec![0.0; table.rows.len()];
                for (row, score) in table.row_indices.iter().zip(judged.scores) {
                    scores[*row] = score;
                }
                Ok((scores, table.report.clone()))
            });
            let (windows, (scores, input)) = judged?;
            let series = Series { scores, windows };
            Ok(Scored { series, input })
        });
        files
            .ok_or(QualityError::Interrupted)?
            .into_iter()
            .collect()
    }

    /// Reads a file and calls `with` on its table, whose rows are in the order of time.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or does not match its labels, or if `with`
    /// failed.
    pub fn read<T>(
        &self,
        file: &Labelled,
        with: impl FnOnce(&Table<'_>) -> Result<T, QualityError>,
    ) -> Result<(Vec<Window>, T), QualityError> {
        csv::load(&file.path, &self.options, |table| {
            let table = table.in_time_order();
            let windows = file
                .windows
                .iter()
                .map(|window| rows_of(&table.rows, *window))
                .collect::<Option<Vec<_>>>();
            let windows = windows.filter(|windows| windows.is_sorted_by(|a, b| a.last < b.first));
            let why = "its labels name windows without rows, or some that overlap";
            let windows = windows.ok_or_else(|| QualityError::unreadable(&file.path, why))?;
            Ok((windows, with(&table)?))
        })?
    }
}

fn times((from, to): &(String, String)) -> Option<(UnixMs, UnixMs)> {
    parse_time(from).zip(parse_time(to))
}

/// Returns the window from the first to the last row within the times. Some files repeat an hour,
/// so that the window can hold rows outside of the times.
fn rows_of(rows: &[Row<'_>], (from, to): (UnixMs, UnixMs)) -> Option<Window> {
    let within = |row: &Row<'_>| row.at.is_some_and(|at| (from..=to).contains(&at));
    let first = rows.iter().position(within)?;
    let last = rows.iter().rposition(within)?;
    Some(Window { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(labels: &str, data: &str) -> Result<Corpus, QualityError> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("labels")).unwrap();
        fs::create_dir_all(folder.path().join("data")).unwrap();
        fs::write(folder.path().join(WINDOWS), labels).unwrap();
        fs::write(folder.path().join("data/a.csv"), data).unwrap();
        let corpus = Corpus::load(folder.path(), CsvOptions::default())?;
        for file in &corpus.files {
            corpus.read(file, |_| Ok(()))?;
        }
        Ok(corpus)
    }

    #[test]
    fn windows_become_rows_both_ends_included() {
        let text = "timestamp,value\n1,0\n2,0\n3,0\n5,0\n";
        let rows = csv::parse(text, &CsvOptions::default()).unwrap().rows;
        assert_eq!(
            rows_of(&rows, (2000, 3000)),
            Some(Window { first: 1, last: 2 })
        );
        assert_eq!(
            rows_of(&rows, (2500, 9000)),
            Some(Window { first: 2, last: 3 })
        );
        assert_eq!(rows_of(&rows, (3500, 4500)), None);
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_file() {
        let data = "timestamp,value\n1,0\n2,0\n3,0\n4,0\n";
        assert_eq!(
            corpus(r#"{"a.csv": [["1", "2"], ["4", "4"]]}"#, data)
                .unwrap()
                .files
                .len(),
            1
        );
        for (labels, says) in [
            (r#"{"a.csv": [["1", "3"], ["2", "4"]]}"#, "overlap"),
            (r#"{"a.csv": [["7", "9"]]}"#, "windows without rows"),
            (r#"{"a.csv": [["1", "soon"]]}"#, "no time"),
            (r#"{"a.csv": []}"#, "no window"),
            (r#"{"b.csv": [["1", "2"]]}"#, "data/b.csv"),
            ("[]", "combined_windows.json"),
        ] {
            let error = corpus(labels, data)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.contains(says), "{labels}: {error}");
        }
        let error = Corpus::load("/nowhere".as_ref(), CsvOptions::default())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("give the folder of the benchmark"),
            "{error}"
        );
    }
}
