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
pub mod rca;
pub mod replay;
pub mod score;
pub mod silences;
pub mod status;

use clap::ValueEnum;

use anomalyzer_evaluate::backtest::BacktestError;
use anomalyzer_evaluate::quality::QualityError;
use anomalyzer_rca::RcaError;

pub use detector_args::DetectorArgs;

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Exit code for wrong arguments, as of clap, and for input files that cannot be read.
const WRONG_INPUT: u8 = 2;

/// Returns the exit code of a command that failed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let of_quality = error.downcast_ref().is_some_and(QualityError::is_input);
    let of_backtest = error.downcast_ref().is_some_and(BacktestError::is_input);
    if of_quality || of_backtest || error.is::<RcaError>() {
        WRONG_INPUT
    } else {
        1
    }
}
