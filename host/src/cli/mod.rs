//! The subcommands that are not the service itself.

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

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}
