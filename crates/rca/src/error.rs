//! Errors of reading recordings.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Error of a recording that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum RcaError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Reason, and the remedy.
        reason: String,
    },
    /// A row of a file cannot be read.
    #[error("{}, line {line}: {reason}", path.display())]
    Row {
        /// File.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// Reason.
        reason: String,
    },
    /// The folder holds no recording.
    #[error(
        "{} holds no recording: give a folder with scenarios of PetShop (graph.csv) or days of \
         Nezha (metric/ and a fault list)", .0.display()
    )]
    Nothing(PathBuf),
}

impl RcaError {
    pub(crate) fn file(path: &Path, reason: impl Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn row(path: &Path, line: u64, reason: impl Display) -> Self {
        Self::Row {
            path: path.to_owned(),
            line,
            reason: reason.to_string(),
        }
    }
}
