//! `anomalyzer rca`: scores the explainer on recordings of faults with a known root.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Output;
use anomalyzer_rca::{Options, run as score};

/// Score the root finding on recordings with known roots: PetShop and Nezha
///
/// Each incident is explained as in the service, from its world and its symptoms, and nothing that
/// is newer than a stated delay after the alarm. TOP-1 is the part of the incidents whose root is
/// right, and TOP-3 the part with the right root among the first three. Candidates that are tied
/// share the point. BLAMED counts the explanations that name a root at all. The sets with hidden
/// calls and missing samples are means of many seeds. CONFIDENCE compares the confidence of an
/// explanation with the truth.
#[derive(Clone, Debug, Args)]
#[command(after_help = "It exits 2 if a file cannot be read.")]
pub struct RcaArgs {
    /// The folder of PetShop or of Nezha, or the folder that holds them
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Number of seeds for hidden calls and missing samples
    #[arg(long, value_name = "N", default_value_t = Options::default().seeds)]
    pub seeds: u64,
    /// Number of alarms on quiet days, for each scenario and metric
    #[arg(long, value_name = "N", default_value_t = Options::default().quiet)]
    pub quiet: usize,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Scores the recordings, and writes the report.
///
/// # Errors
/// Returns an error if a recording can't be read, or if the output can't be written.
pub async fn run<W: Write>(args: RcaArgs, out: &mut W) -> Result<()> {
    let options = Options {
        seeds: args.seeds,
        quiet: args.quiet,
    };
    let report = tokio::task::spawn_blocking(move || score(&args.data, options)).await??;
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
        Output::Text => out.write_all(report.text().as_bytes())?,
    }
    Ok(out.flush()?)
}
