//! How good a detector is, on data that is at hand: `anomalyzer nab`, `score` and `plot`.
//!
//! A detector is opened as the service opens it and sees what the service would show it: samples in
//! the order of their time, none twice, none that is not finite, many at a time. Nothing here knows
//! a file's future.

pub mod csv;
mod detectors;
mod judge;
mod many;
pub mod nab;
mod panel;
pub mod plot;
mod table;
mod when;

use std::io;
use std::path::{Path, PathBuf};

pub use detectors::Detectors;
pub use judge::{Judged, Said, judge};
pub use many::over;
pub use panel::panel_of_rows;
pub use table::{HEAD, write};
pub use when::parse as parse_time;

use crate::history::HistoryError;
use crate::plugin::PluginError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// A file can't be read, or not be made sense of.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why, with the remedy.
        reason: String,
    },
    /// A file can't be written.
    #[error("cannot write {path}: {reason}", path = .path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why, with the remedy.
        reason: String,
    },
    /// What was asked for does not fit together.
    #[error("{0}")]
    Wrong(String),
    /// A detector can't be had, or failed.
    #[error("{doing}: {error}")]
    Plugin {
        /// Which detector, on which file.
        doing: String,
        /// What it said.
        error: PluginError,
    },
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl QualityError {
    pub(crate) fn unreadable(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unwritable(path: &Path, reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unwritable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn plugin(doing: impl Into<String>, error: PluginError) -> Self {
        Self::Plugin {
            doing: doing.into(),
            error,
        }
    }
}
