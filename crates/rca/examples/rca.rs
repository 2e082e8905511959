//! Scores the recordings of a folder: `cargo run -p anomalyzer-rca --example rca -- DIR`.

use std::path::PathBuf;
use std::process::ExitCode;

use anomalyzer_rca::{Options, run};

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let folder = std::env::args()
        .nth(1)
        .map(PathBuf::from)
        .unwrap_or_default();
    match run(&folder, Options::default()) {
        Ok(report) => {
            println!("{}", report.text());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
