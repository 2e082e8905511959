//! `anomalyzer silences list|add|end`: silences targets for a while, over the API of a running
//! server.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::api_client::{ApiClient, ApiError, ServerArgs};
use anomalyzer_domain::duration;

const PATH: &str = "/api/v1/silences";

/// Leave some targets alone for a while.
#[derive(Clone, Debug, Args)]
pub struct SilencesCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: SilencesSubcommand,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Subcommands of `anomalyzer silences`.
#[derive(Clone, Debug, Subcommand)]
pub enum SilencesSubcommand {
    /// List the silences in force
    List(ServerArgs),
    /// Take no automatic action on these targets for a while, and send no notices about them. `*`
    /// in a name stands for any characters
    Add(AddArgs),
    /// End a silence before its time
    End {
        /// The silence's id
        id: String,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Arguments of `silences add`: targets, duration and reason.
#[derive(Clone, Debug, Args)]
#[group(id = "targets", required = true, multiple = true, args = ["namespace", "kind", "name"])]
pub struct AddArgs {
    /// Namespace of the targets
    #[arg(long)]
    pub namespace: Option<String>,
    /// Kind of the targets, for example Deployment
    #[arg(long)]
    pub kind: Option<String>,
    /// Name of the targets
    #[arg(long)]
    pub name: Option<String>,
    /// Duration of the silence, for example 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub lasts: Duration,
    /// Reason, for people who find the silence
    #[arg(long)]
    pub why: String,
    /// Server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs the subcommand, and writes the listed, added or ended silences.
///
/// # Errors
/// Returns an error if the server can't be reached or refuses the request, or if the output can't
/// be written.
pub async fn run<W: Write>(command: SilencesCommand, out: &mut W) -> Result<(), ApiError> {
    let answer = match command.what {
        SilencesSubcommand::List(server) => {
            ApiClient::open(&server, PATH)?
                .ask(Method::GET, "", None)
                .await?
        }
        SilencesSubcommand::Add(AddArgs {
            namespace,
            kind,
            name,
            lasts,
            why,
            server,
        }) => {
            let targets: serde_json::Map<String, Value> =
                [("namespace", namespace), ("kind", kind), ("name", name)]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))))
                    .collect();
            let body = json!({ "targets": targets, "for": duration::format(lasts), "why": why });
            ApiClient::open(&server, PATH)?
                .ask(Method::POST, "", Some(body))
                .await?
        }
        SilencesSubcommand::End { id, server } => {
            ApiClient::open(&server, PATH)?
                .ask(Method::DELETE, &id, None)
                .await?
        }
    };
    if command.output == Output::Json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let shown = match answer["silences"].as_array() {
        Some(all) => all.clone(),
        None => vec![answer],
    };
    if shown.is_empty() {
        writeln!(out, "nothing is silenced")?;
    }
    for silence in shown {
        let text = |key: &str| silence[key].as_str().unwrap_or_default().to_owned();
        let (id, until, by, why) = (text("id"), text("until"), text("by"), text("why"));
        writeln!(
            out,
            "{id}  until {until}  {}  {why} (by {by})",
            silence["targets"]
        )?;
    }
    Ok(())
}
