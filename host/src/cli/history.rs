//! `anomalyzer history backup|restore`: copies the history file, and restores a copy.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Output;
use anomalyzer_history::{FILE_NAME, HistoryReader, Walked, restore};

/// Back up the history, and restore a backup.
#[derive(Clone, Debug, Args)]
pub struct HistoryCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: HistorySubcommand,
    /// The folder in which the service keeps its data.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "anomalyzer-data"
    )]
    pub data_dir: PathBuf,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Subcommands of `anomalyzer history`.
#[derive(Clone, Debug, Subcommand)]
pub enum HistorySubcommand {
    /// Copy the history to a new file and verify the chains of the copy. The service may be running
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Restore a copy while the service is stopped. The current history is moved aside
    Restore {
        /// The copy
        file: PathBuf,
    },
}

/// Runs the subcommand. Returns true if the chains of a new copy are intact.
///
/// # Errors
/// Returns an error if a file can't be read or written, or is in use.
pub async fn run<W: Write>(command: HistoryCommand, out: &mut W) -> anyhow::Result<bool> {
    let here = command.data_dir.join(FILE_NAME);
    match command.what {
        HistorySubcommand::Backup { file } => {
            let walked = HistoryReader::open(&here).await?.back_up(&file).await?;
            let good = walked.iter().all(Walked::is_intact);
            match command.output {
                Output::Json => writeln!(
                    out,
                    "{}",
                    json!({ "file": file, "good": good, "chains": walked })
                )?,
                Output::Text => {
                    for walked in &walked {
                        let held = if walked.is_intact() {
                            "intact"
                        } else {
                            "BROKEN: see `anomalyzer audit verify`"
                        };
                        writeln!(
                            out,
                            "{}: {held} up to event {}",
                            walked.chain.as_str(),
                            walked.events
                        )?;
                    }
                    writeln!(out, "{}", file.display())?;
                }
            }
            Ok(good)
        }
        HistorySubcommand::Restore { file } => {
            let aside = restore(&file, &here).await?;
            match (command.output, &aside) {
                (Output::Json, _) => writeln!(out, "{}", json!({ "file": here, "aside": aside }))?,
                (Output::Text, Some(aside)) => {
                    writeln!(
                        out,
                        "{} restored; what was there is {}",
                        here.display(),
                        aside.display()
                    )?;
                }
                (Output::Text, None) => writeln!(out, "{} restored", here.display())?,
            }
            Ok(true)
        }
    }
}
