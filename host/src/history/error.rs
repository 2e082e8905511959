//! Why the history could not be written or read.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the history could not be written or read. Each names the file.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// Nothing of what was asked to be recorded is in the file; all that was acknowledged before
    /// is.
    #[error(
        "{path} cannot grow: the disk (or the size limit) is full; free some space, recording resumes by itself"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The bounded queue of the writer stayed full: slow down.
    #[error(
        "the writer of {path} is {waiting} records behind and did not catch up within {patience:?}; retry later"
    )]
    Busy {
        /// The file.
        path: PathBuf,
        /// How many records wait.
        waiting: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// It was handed to the writer, and no answer came: it may be recorded or not. Recording it
    /// again does no harm.
    #[error("the disk under {path} did not answer within {patience:?}; check it")]
    Unanswered {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// Another server is the one that records.
    #[error(
        "this server stands by: another one records in {log}; ask that one, or wait until this one has taken over"
    )]
    StandsBy {
        /// The log of record.
        log: String,
    },
    /// The log of record can't be written or read.
    #[error("the log of record can't be used: {reason}")]
    Log {
        /// Why.
        reason: String,
    },
    /// The file holds something else than the log of record.
    #[error(
        "{path} and {log} hold different events: {reason}; move the file away, and it is made anew from the log (`anomalyzer audit export` \
         keeps what is in it)"
    )]
    Apart {
        /// The file.
        path: PathBuf,
        /// The log of record.
        log: String,
        /// Where.
        reason: String,
    },
    /// It was closed.
    #[error("the history at {path} is closed")]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// SQLite failed in another way.
    #[error("{path}: {reason}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A row does not hold what it should.
    #[error(
        "{path}: {what} is not readable: {reason}; restore the file from a copy, or move it away"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Which row.
        what: String,
        /// Why.
        reason: String,
    },
    /// The events are not what was recorded.
    #[error("{path}: the chain of events is broken at event {seq}: {reason}")]
    BrokenChain {
        /// The file.
        path: PathBuf,
        /// The first event that does not fit.
        seq: i64,
        /// What does not fit.
        reason: String,
    },
}

/// SQLite's primary result codes (sqlite.org/rescode.html).
mod code {
    pub const READONLY: i32 = 8;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const NOTADB: i32 = 26;
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    // The extended code holds the primary one in its lowest byte.
    error
        .as_database_error()?
        .code()?
        .parse::<i32>()
        .ok()
        .map(|code| code & 0xff)
}

impl HistoryError {
    /// Reads what SQLite said about this file.
    pub(super) fn from_sqlx(path: &Path, error: &sqlx::Error) -> Self {
        let path = path.to_owned();
        let reason = match primary_code(error) {
            Some(code::FULL) => return Self::Full { path },
            Some(code::READONLY) => {
                "it is read-only; make the file and its folder writable".to_owned()
            }
            Some(code::CORRUPT) => {
                format!("it is damaged ({error}); restore it from a copy, or move it away")
            }
            Some(code::NOTADB) => {
                "it is not an SQLite database; move it away, or set another data folder".to_owned()
            }
            Some(code::CANTOPEN) => {
                "it cannot be opened; check that the folder exists and is accessible".to_owned()
            }
            _ => error.to_string(),
        };
        Self::Store { path, reason }
    }

    pub(super) fn from_migrate(path: &Path, error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;

        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::from_sqlx(path, &error)
            }
            MigrateError::VersionMissing(version) => Self::Open {
                path: path.to_owned(),
                reason: format!(
                    "it was written by a newer version (schema {version}); use that one"
                ),
            },
            other => Self::Open {
                path: path.to_owned(),
                reason: other.to_string(),
            },
        }
    }
}
