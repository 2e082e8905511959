//! Errors of writing or reading the history.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Error of writing or reading the history.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The disk or the size limit is full. The rejected records are not in the file; all records
    /// acknowledged before are.
    #[error(
        "{path} cannot grow: the disk (or the size limit) is full; free some space, recording resumes by itself"
    )]
    Full {
        /// Path of the file.
        path: PathBuf,
    },
    /// The bounded queue of the writer stayed full. The caller should slow down.
    #[error(
        "the writer of {path} is {waiting} records behind and did not catch up within {time_limit:?}; retry later"
    )]
    Busy {
        /// Path of the file.
        path: PathBuf,
        /// Number of waiting records.
        waiting: usize,
        /// Time that was waited.
        time_limit: Duration,
    },
    /// The writer got the record but did not answer in time. The record may or may not be stored.
    /// Recording it again is safe.
    #[error("the disk under {path} did not answer within {time_limit:?}; check it")]
    Unanswered {
        /// Path of the file.
        path: PathBuf,
        /// Time that was waited.
        time_limit: Duration,
    },
    /// Another server is the one that records.
    #[error(
        "this server stands by: another one records in {log}; ask that one, or wait until this one has taken over"
    )]
    StandsBy {
        /// Name of the log of record.
        log: String,
    },
    /// The log of record can't be written or read.
    #[error("the log of record can't be used: {reason}")]
    Log {
        /// Reason.
        reason: String,
    },
    /// The file and the log of record contain different events.
    #[error(
        "{path} and {log} hold different events: {reason}; move the file away, and it is made anew from the log (`anomalyzer audit export` \
         keeps what is in it)"
    )]
    Apart {
        /// Path of the file.
        path: PathBuf,
        /// Name of the log of record.
        log: String,
        /// Place of the difference.
        reason: String,
    },
    /// The history was closed.
    #[error("the history at {path} is closed")]
    Closed {
        /// Path of the file.
        path: PathBuf,
    },
    /// The history cannot be opened.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// Reason and remedy.
        reason: String,
    },
    /// An earlier version wrote the file.
    #[error("cannot open {path}: its schema is older; start `serve` once to bring it up to date")]
    Older {
        /// Path of the file.
        path: PathBuf,
    },
    /// The search took longer than searches may.
    #[error(
        "the search in {path} took longer than {limit:?} and was ended; narrow it: name a target, a time or fewer words"
    )]
    TooSlow {
        /// Path of the file.
        path: PathBuf,
        /// Time that a search may take.
        limit: Duration,
    },
    /// All connections of these readers are in use.
    #[error(
        "all {connections} connections that read {path} for this purpose are in use; try again"
    )]
    NoConnection {
        /// Path of the file.
        path: PathBuf,
        /// Number of connections.
        connections: u32,
    },
    /// SQLite reported another error.
    #[error("{path}: {reason}")]
    Store {
        /// Path of the file.
        path: PathBuf,
        /// Message of SQLite.
        reason: String,
    },
    /// A row has invalid content.
    #[error(
        "{path}: {what} is not readable: {reason}; restore the file from a copy, or move it away"
    )]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Name of the row.
        what: String,
        /// Reason.
        reason: String,
    },
    /// The events are not the recorded ones.
    #[error("{path}: the chain of events is broken at event {seq}: {reason}")]
    BrokenChain {
        /// Path of the file.
        path: PathBuf,
        /// First event that does not fit the chain.
        seq: i64,
        /// Description of the problem.
        reason: String,
    },
}

/// SQLite's primary result codes (sqlite.org/rescode.html).
mod code {
    pub const READONLY: i32 = 8;
    pub const INTERRUPT: i32 = 9;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const NOTADB: i32 = 26;
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    // The lowest byte of an extended code is the primary code.
    error
        .as_database_error()?
        .code()?
        .parse::<i32>()
        .ok()
        .map(|code| code & 0xff)
}

/// Returns true if SQLite ended the query because it was told to.
pub(super) fn is_interrupted(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::INTERRUPT)
}

impl HistoryError {
    /// Converts an SQLite error about this file.
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
