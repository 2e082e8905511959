//! `anomalyzer history backup|restore`: copies of the record.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Output;
use anomalyzer_history::{FILE_NAME, HistoryReader, restore};

/// Copy the history, and put a copy in its place.
#[derive(Clone, Debug, Args)]
pub struct HistoryCommand {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// The folder in which the service keeps its data.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "anomalyzer-data"
    )]
    pub data_dir: PathBuf,
    /// Text to read, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Copy it into a new file, also while the service runs, and walk the chains of the copy
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Put a copy in its place, with the service stopped; what was there is moved aside
    Restore {
        /// The copy
        file: PathBuf,
    },
}

/// Does it. Whether the chains of a copy hold.
///
/// # Errors
/// A file can't be read or written, or is in use.
pub async fn run<W: Write>(command: HistoryCommand, out: &mut W) -> anyhow::Result<bool> {
    let here = command.data_dir.join(FILE_NAME);
    match command.what {
        What::Backup { file } => {
            let walked = HistoryReader::open(&here).await?.back_up(&file).await?;
            let good = walked.iter().all(|walked| walked.broken.is_none());
            match command.output {
                Output::Json => writeln!(
                    out,
                    "{}",
                    json!({ "file": file, "good": good, "chains": walked })
                )?,
                Output::Text => {
                    for walked in &walked {
                        let held = if walked.broken.is_none() {
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
        What::Restore { file } => {
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
