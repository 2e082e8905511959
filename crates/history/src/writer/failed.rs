//! Error of writing a group.

use anomalyzer_bus::BusError;

use crate::log::ApplyError;

/// Error of writing a group.
#[derive(Debug)]
pub(super) enum Failed {
    Sqlite(sqlx::Error),
    Log(BusError),
    /// The file and the log contain different events.
    Apart(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<BusError> for Failed {
    fn from(error: BusError) -> Self {
        Self::Log(error)
    }
}

impl From<ApplyError> for Failed {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Sqlite(error) => Self::Sqlite(error),
            ApplyError::Apart { .. } => Self::Apart(error.to_string()),
        }
    }
}
