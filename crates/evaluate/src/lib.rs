//! Evaluation on recorded data: scores of detectors, benchmarks, backtests of a configuration, and
//! the replay of decisions.

pub mod backtest;
pub mod csv;
pub mod quality;
pub mod replay;
