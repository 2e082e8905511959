//! `anomalyzer decisions list|show|watch|approve|reject`. `list`, `show` and `watch` read the
//! history file directly, so that the service need not run. `approve` and `reject` answer a
//! question of a held decision at a running server.

mod answer;
mod record;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Output;
use anomalyzer_domain::{
    DecisionId, DecisionState, IncidentId, Target, UnixMs, VerificationOutcome,
};
use anomalyzer_history::{
    FILE_NAME, Filter, HistoryError, HistoryReader, Page, RecordedEvent, parse_time,
};

/// Time between two polls of `watch`.
const EVERY: Duration = Duration::from_millis(300);

/// Number of rows in one read.
const CHUNK: u32 = 200;

/// Look at decisions, their reasons and their outcomes.
#[derive(Clone, Debug, Args)]
pub struct DecisionsCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: DecisionsSubcommand,
    /// Text for people, or JSON (one object per line; `show` prints one object).
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The folder in which the service keeps its data.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "anomalyzer-data"
    )]
    pub data_dir: PathBuf,
}

/// Subcommands of `anomalyzer decisions`.
#[derive(Clone, Debug, Subcommand)]
pub enum DecisionsSubcommand {
    /// List decisions, the newest first.
    List {
        /// Filter of the decisions.
        #[command(flatten)]
        filter: FilterArguments,
        /// Maximum number of decisions.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// List all decisions.
        #[arg(long, conflicts_with = "limit")]
        all: bool,
    },
    /// Show everything about one decision.
    Show {
        /// The decision's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Approve the operation that a held decision asks about, on the target as shown. Without
    /// `--question`, shows the question and how to approve it.
    Approve(answer::AnswerArgs),
    /// Reject the operation that a held decision asks about.
    Reject(answer::AnswerArgs),
    /// Print each event of a decision from now on, until interrupted.
    Watch {
        /// Filter of the decisions.
        #[command(flatten)]
        filter: FilterArguments,
    },
}

/// Filter of the decisions.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArguments {
    /// Target of the decision: cluster/namespace/kind/name.
    #[arg(long)]
    pub target: Option<Target>,
    /// Action of the decision, for example `scale_up`.
    #[arg(long)]
    pub solution: Option<String>,
    /// Outcome of the decision: improved, not_improved, worse or unknown.
    #[arg(long, value_parser = named::<VerificationOutcome>)]
    pub outcome: Option<VerificationOutcome>,
    /// State of the decision: proposed, held, denied, shadowed, acting, verifying, done, undone or
    /// failed.
    #[arg(long, value_parser = named::<DecisionState>)]
    pub state: Option<DecisionState>,
    /// Incident of the decision.
    #[arg(long, value_name = "ID")]
    pub incident: Option<String>,
    /// Earliest time of the decision, inclusive: RFC 3339, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<UnixMs>,
    /// Latest time of the decision, exclusive.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<UnixMs>,
    /// Words that the decision must contain, all of them.
    #[arg(long)]
    pub text: Option<String>,
}

fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|error| error.to_string())
}

impl From<FilterArguments> for Filter {
    fn from(arguments: FilterArguments) -> Self {
        let FilterArguments {
            target,
            solution,
            outcome,
            state,
            incident,
            from,
            to,
            text,
        } = arguments;
        Self {
            target,
            solution,
            outcome,
            state,
            incident: incident.map(IncidentId::from),
            from,
            to,
            text,
        }
    }
}

/// Error of `anomalyzer decisions`.
#[derive(Debug, thiserror::Error)]
pub enum DecisionsError {
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// No decision has this id.
    #[error("there is no decision `{0}`; `decisions list` shows those that there are")]
    NotFound(String),
    /// The server can't be reached, or refuses the request.
    #[error(transparent)]
    Server(#[from] super::api_client::ApiError),
    /// The decision asks no question.
    #[error(
        "decision `{0}` is {1}: nobody is asked; `decisions list --state held` shows what waits"
    )]
    NotHeld(String, String),
    /// The decision asks another question.
    #[error(
        "decision `{id}` asks question {asked} by now, not `{given}`: look at it again with `decisions show`"
    )]
    OtherQuestion {
        /// Id of the decision.
        id: String,
        /// Id of the decision's question.
        asked: String,
        /// Id of the question that was answered.
        given: String,
    },
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the subcommand. A reader that closes the output early is not an error.
pub async fn run<W: Write>(
    command: DecisionsCommand,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), DecisionsError> {
    match perform(command, out, shutdown).await {
        Err(DecisionsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

async fn perform<W: Write>(
    command: DecisionsCommand,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), DecisionsError> {
    let DecisionsCommand {
        what,
        output,
        data_dir,
    } = command;
    let what = match what {
        DecisionsSubcommand::Approve(args) => return answer::run(args, true, output, out).await,
        DecisionsSubcommand::Reject(args) => return answer::run(args, false, output, out).await,
        what => what,
    };
    let history = anomalyzer_history::open_any_version(&data_dir.join(FILE_NAME)).await?;
    match what {
        DecisionsSubcommand::List { filter, limit, all } => {
            list(
                &history,
                filter.into(),
                (!all).then_some(limit),
                output,
                out,
            )
            .await
        }
        DecisionsSubcommand::Show { id } => show(&history, id, output, out).await,
        DecisionsSubcommand::Approve(_) | DecisionsSubcommand::Reject(_) => Ok(()),
        DecisionsSubcommand::Watch { filter } => {
            watch(&history, filter.into(), output, out, shutdown).await
        }
    }?;
    Ok(out.flush()?)
}

async fn list<W: Write>(
    history: &HistoryReader,
    filter: Filter,
    limit: Option<u32>,
    output: Output,
    out: &mut W,
) -> Result<(), DecisionsError> {
    let mut decisions = history.all_decisions(
        filter,
        Page {
            limit: CHUNK,
            ..Page::default()
        },
    );
    if output == Output::Text {
        writeln!(out, "{}", table::HEAD)?;
    }
    let mut left = limit;
    while let Some(decision) = decisions.try_next().await? {
        if left == Some(0) {
            if output == Output::Text {
                writeln!(out, "There are more: give a larger --limit, or --all.")?;
            }
            break;
        }
        left = left.map(|left| left - 1);
        match output {
            Output::Text => writeln!(out, "{}", table::row(&decision))?,
            Output::Json => line(out, &decision)?,
        }
    }
    Ok(())
}

async fn show<W: Write>(
    history: &HistoryReader,
    id: String,
    output: Output,
    out: &mut W,
) -> Result<(), DecisionsError> {
    let key = DecisionId::from(id.as_str());
    let Some(decision) = history.decision(&key).await? else {
        return Err(DecisionsError::NotFound(id));
    };
    match output {
        Output::Text => write!(
            out,
            "{}",
            record::text(&decision, &history.events_of(&key).await?)
        )?,
        Output::Json => writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&decision).map_err(io::Error::from)?
        )?,
    }
    Ok(())
}

async fn watch<W: Write>(
    history: &HistoryReader,
    filter: Filter,
    output: Output,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), DecisionsError> {
    let mut seen = history.last_event().await?;
    while !shutdown.is_cancelled() {
        for event in history.events_after(seen, &filter, CHUNK).await? {
            seen = event.seq;
            tell(&event, output, out)?;
        }
        out.flush()?;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    Ok(())
}

fn tell<W: Write>(event: &RecordedEvent, output: Output, out: &mut W) -> io::Result<()> {
    match output {
        Output::Text => writeln!(out, "{}", table::event(event)),
        Output::Json => line(out, event),
    }
}

fn line<W: Write>(out: &mut W, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
