//! The subcommands that are not the service itself.

pub mod audit;
pub mod check;
pub mod decisions;
pub mod kill_switch;
pub mod plugins;

use clap::ValueEnum;

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}
