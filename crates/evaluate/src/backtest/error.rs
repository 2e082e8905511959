//! Errors of a backtest.

use super::data::DataError;
use anomalyzer_detect::EngineError;

/// A backtest that failed.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A detector cannot be opened, or failed.
    #[error(transparent)]
    Detect(#[from] EngineError),
    /// Any other reason, with the remedy.
    #[error("{0}")]
    Wrong(String),
    /// A shutdown was requested.
    #[error("interrupted")]
    Interrupted,
}

impl BacktestError {
    /// Returns true if a file of recorded metrics cannot be read.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Data(DataError::Csv(_)))
    }
}
