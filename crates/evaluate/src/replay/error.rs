//! Errors of a replay.

use anomalyzer_history::HistoryError;

/// Reason why a replay fails.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// History that cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Another cause, with the remedy.
    #[error("{0}")]
    Wrong(String),
}
