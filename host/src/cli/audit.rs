//! `anomalyzer audit verify|anchor|export|rebuild`: checks that nobody altered the recorded
//! history. Reads the history file directly, so that the service need not run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Output;
use anomalyzer_common::data_folder::{DataFolder, DataFolderError};
use anomalyzer_domain::rfc3339;
use anomalyzer_history::{Anchor, CutRules, Difference, FILE_NAME, HistoryError, Walked, rebuild};
use anomalyzer_service::config::{self, ConfigError};

/// Check that the history is what was recorded.
#[derive(Clone, Debug, Args)]
pub struct AuditCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: AuditSubcommand,
    /// The folder in which the service keeps its data.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "anomalyzer-data"
    )]
    pub data_dir: PathBuf,
}

/// Subcommands of `anomalyzer audit`.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditSubcommand {
    /// Walk the chains, and compare the tables with them; the exit code is 1 if an event was
    /// edited, removed, inserted or reordered, if a table says something else than the events, or
    /// if every given anchor is of a pruned event and proves nothing.
    Verify {
        /// Configuration whose `[retention]` and `[kafka]` must allow the cuts. Without it, each
        /// cut must fit the retention that it names.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Heads of chains that were kept elsewhere, in the format of `audit anchor`.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        /// Text for people, or JSON (one object per chain, each on its own line).
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the heads of the chains. Keep them where nobody who can edit the history can write.
    Anchor,
    /// Print every event as a line of JSON, which docs/verify_audit.py verifies.
    Export,
    /// Make the tables anew from the events, while the service is stopped: decisions, operations,
    /// incidents, cuts and the index of words.
    Rebuild {
        /// Configuration whose `[retention]` and `[kafka]` must allow the cuts.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Error of `anomalyzer audit`.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The file of anchors can't be read.
    #[error(
        "cannot read the anchors {path}: {reason}; give a file of lines as `audit anchor` prints them"
    )]
    Anchors {
        /// Path of the file.
        path: PathBuf,
        /// Reason that the file can't be read.
        reason: String,
    },
    /// The configuration can't be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder is in use.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the subcommand. Returns true if every chain is intact.
pub async fn run<W: Write>(command: AuditCommand, out: &mut W) -> Result<bool, AuditError> {
    let AuditCommand { what, data_dir } = command;
    let anchors = match &what {
        AuditSubcommand::Verify {
            anchor: Some(path), ..
        } => read(path)?,
        _ => Vec::new(),
    };
    let file = data_dir.join(FILE_NAME);
    let rules = match &what {
        AuditSubcommand::Verify { config, .. } | AuditSubcommand::Rebuild { config } => {
            config.as_deref().map(rules).transpose()?
        }
        AuditSubcommand::Anchor | AuditSubcommand::Export => None,
    };
    if matches!(what, AuditSubcommand::Rebuild { .. }) {
        // The lock keeps a service from starting meanwhile.
        let _folder = DataFolder::open(&data_dir, &["server"])?;
        let rebuilt = rebuild(&file, rules.as_ref()).await?;
        let (decisions, incidents) = (rebuilt.decisions, rebuilt.incidents);
        writeln!(
            out,
            "made anew from the events: {decisions} decisions, {incidents} incidents"
        )?;
        return Ok(true);
    }
    let history = anomalyzer_history::open_any_version(&file).await?;
    if matches!(what, AuditSubcommand::Export) {
        let mut out = io::BufWriter::new(out);
        history
            .export(|event| Ok::<_, AuditError>(json(event, &mut out)?))
            .await?;
        out.flush()?;
        return Ok(true);
    }
    let chains = history.audit_with_heads(&anchors, rules.as_ref()).await?;
    let good = chains.iter().all(Walked::is_intact);
    for walked in &chains {
        match what {
            AuditSubcommand::Verify {
                output: Output::Json,
                ..
            } => json(walked, out)?,
            AuditSubcommand::Anchor if good && walked.events == 0 => {}
            AuditSubcommand::Anchor if good => {
                json(&walked.head(), out)?;
            }
            // A broken chain must not be anchored, so its state is printed instead.
            _ => text(walked, out)?,
        }
    }
    out.flush()?;
    Ok(good && !chains.iter().any(Walked::is_unproven))
}

/// Reads the rules that the cuts must fit from a configuration.
fn rules(path: &Path) -> Result<CutRules, ConfigError> {
    let config = config::load(Some(path), &config::process_variable)?;
    Ok(CutRules {
        retention: config.retention,
        has_log_of_record: config.kafka.is_some(),
    })
}

fn read(path: &Path) -> Result<Vec<Anchor>, AuditError> {
    let failed = |reason: String| AuditError::Anchors {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let anchors: Vec<Anchor> = lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| failed(format!("line {}: {error}", at + 1)))
        })
        .collect::<Result<_, _>>()?;
    if anchors.is_empty() {
        Err(failed("there is none in it".to_owned()))
    } else {
        Ok(anchors)
    }
}

fn json<W: Write>(value: &impl serde::Serialize, out: &mut W) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn text<W: Write>(walked: &Walked, out: &mut W) -> io::Result<()> {
    let Walked {
        chain,
        cut,
        cut_by_earlier_version,
        events,
        hash,
        first_at,
        last_at,
        anchored,
        pruned_anchors,
        broken,
        differs,
    } = walked;
    let name = chain.as_str();
    match (broken, differs) {
        (Some(broken), _) => {
            let subject = broken.subject.as_deref().unwrap_or("-");
            writeln!(
                out,
                "{name}: BROKEN at event {} ({}): {}",
                broken.seq,
                subject.escape_debug(),
                broken.what
            )
        }
        (None, Some(Difference { table, row, what })) => writeln!(
            out,
            "{name}: the table {table} DIFFERS at {}: {what}",
            row.escape_debug()
        ),
        (None, None) if walked.is_unproven() => writeln!(
            out,
            "{name}: UNPROVEN: the events of all anchors were let go of; give newer anchors"
        ),
        (None, None) => writeln!(out, "{name}: intact"),
    }?;
    if let Some(remedy) = walked.remedy() {
        writeln!(out, "  remedy: {remedy}")?;
    }
    writeln!(
        out,
        "  events that hold: {}, the last one's hash: {hash}",
        events - cut
    )?;
    if *cut > 0 {
        let by = match cut_by_earlier_version {
            true => " by an earlier version, which kept no record of it",
            false => "",
        };
        writeln!(out, "  events up to {cut} were old and let go of{by}")?;
    }
    if let (Some(first), Some(last)) = (first_at, last_at) {
        writeln!(out, "  from {} to {}", rfc3339(*first), rfc3339(*last))?;
    }
    writeln!(out, "  anchors found in it: {anchored}")?;
    if *pruned_anchors > 0 {
        writeln!(
            out,
            "  anchors of events that were let go of, which prove nothing: {pruned_anchors}"
        )?;
    }
    Ok(())
}
