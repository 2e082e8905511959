//! Subcommands of the program other than `serve`.

pub mod api_client;
pub mod audit;
pub mod backtest;
pub mod check;
pub mod decisions;
mod detector_args;
pub mod feedback;
pub mod history;
pub mod kill_switch;
pub mod nab;
pub mod plot;
pub mod plugins;
pub mod policy;
pub mod replay;
pub mod score;
pub mod silences;
pub mod status;

use clap::ValueEnum;

pub use detector_args::DetectorArgs;

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}
