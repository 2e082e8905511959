//! Measures the quality of detectors on existing data: `anomalyzer nab`, `score` and `plot`.
//!
//! A detector is opened as in the service and sees what the service would feed to it: samples in
//! the order of their time, without duplicates, only finite ones, many at a time. No detector sees
//! a file's future.

mod batch;
pub mod csv;
mod detectors;
pub mod nab;
mod panel;
mod scorer;
mod table;
mod timestamp;

use std::io;
use std::path::{Path, PathBuf};

pub use batch::over;
pub use detectors::Detectors;
pub use panel::panel_of_rows;
pub use scorer::{Judged, Said, judge};
pub use table::{HEAD, write};
pub use timestamp::parse as parse_time;

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

impl QualityError {
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
