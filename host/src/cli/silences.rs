//! `anomalyzer silences list|add|end`: which targets are left alone for a while, over the API of a
//! running server.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::plugins::{Door, ManageError, ServerArgs};
use anomalyzer_domain::duration;

const DOOR: &str = "/api/v1/silences";

/// Leave some targets alone for a while.
#[derive(Clone, Debug, Args)]
pub struct SilencesCommand {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// Text to read, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Those in force
    List(ServerArgs),
    /// Nothing is done by itself about these targets for a while, and nobody is told of them. `*`
    /// in a name stands for any characters
    Add(AddArgs),
    /// End one before its time
    End {
        /// Its id
        id: String,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which targets, for how long, and why.
#[derive(Clone, Debug, Args)]
#[group(id = "targets", required = true, multiple = true, args = ["namespace", "kind", "name"])]
pub struct AddArgs {
    /// Of this namespace
    #[arg(long)]
    pub namespace: Option<String>,
    /// Of this kind, as Deployment
    #[arg(long)]
    pub kind: Option<String>,
    /// Of this name
    #[arg(long)]
    pub name: Option<String>,
    /// How long, as 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub lasts: Duration,
    /// For whoever finds it
    #[arg(long)]
    pub why: String,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Does it, and writes what is in force then.
///
/// # Errors
/// The server can't be asked, or says no.
pub async fn run<W: Write>(command: SilencesCommand, out: &mut W) -> Result<(), ManageError> {
    let answer = match command.what {
        What::List(server) => {
            Door::open(&server, DOOR)?
                .ask(Method::GET, "", None)
                .await?
        }
        What::Add(AddArgs {
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
            Door::open(&server, DOOR)?
                .ask(Method::POST, "", Some(body))
                .await?
        }
        What::End { id, server } => {
            Door::open(&server, DOOR)?
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
