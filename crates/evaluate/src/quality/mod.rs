//! Measures the quality of detectors on existing data: `anomalyzer nab`, `score` and `plot`.
//!
//! A detector is opened as in the service and sees what the service would feed to it: samples in
//! the order of their time, without duplicates, only finite ones, many at a time. No detector sees
//! a file's future.

mod batch;
mod detectors;
pub mod nab;
mod panel;
mod scorer;
mod table;

use std::io;
use std::path::{Path, PathBuf};

pub use batch::over;
pub use detectors::Detectors;
pub use panel::panel_of_samples;
pub use scorer::{Judged, SampleVerdict, judge};
pub use table::{HEAD, write};

use crate::csv::CsvError;
use anomalyzer_history::HistoryError;
use anomalyzer_plugin_host::PluginError;

/// Reason for the failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// File that cannot be read or interpreted.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure, with the remedy.
        reason: String,
    },
    /// Samples that cannot be read.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// Files that failed, while others did not.
    #[error("{} files failed:\n{}", .0.len(), lines(.0))]
    Several(Vec<QualityError>),
    /// File that cannot be written.
    #[error("cannot write {path}: {reason}", path = .path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure, with the remedy.
        reason: String,
    },
    /// Inconsistent request.
    #[error("{0}")]
    Wrong(String),
    /// Detector that cannot be loaded, or that failed.
    #[error("{doing}: {error}")]
    Plugin {
        /// Name of the detector and of the file.
        doing: String,
        /// Error of the detector.
        error: PluginError,
    },
    /// History that cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Interrupted command.
    #[error("interrupted")]
    Interrupted,
    /// Output that cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn lines(errors: &[QualityError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl QualityError {
    /// Returns one error for the failures of many files.
    ///
    /// # Errors
    /// Returns an error if anything failed.
    pub fn all(mut failed: Vec<Self>) -> Result<(), Self> {
        match failed.len() {
            0 => Ok(()),
            1 => failed.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several(failed)),
        }
    }

    /// Returns true if the samples of a file cannot be read.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Csv(_) => true,
            Self::Several(errors) => errors.iter().any(Self::is_input),
            _ => false,
        }
    }

    /// Returns the error of a file that cannot be read.
    pub fn unreadable(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Returns the error of a file that cannot be written.
    pub fn unwritable(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unwritable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Returns the error of a plugin that failed.
    pub fn plugin(doing: impl Into<String>, error: PluginError) -> Self {
        Self::Plugin {
            doing: doing.into(),
            error,
        }
    }
}
