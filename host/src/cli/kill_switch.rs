//! `anomalyzer kill-switch show|on|off`: whether anything may be changed at all, over the API of a
//! running server.

use std::io::Write;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::plugins::{Door, ManageError, ServerArgs};

const DOOR: &str = "/api/v1/kill-switch";

/// Stop whatever changes anything, or let it go on.
#[derive(Clone, Debug, Args)]
pub struct KillSwitchCommand {
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
    /// Whether it is on, and why
    Show(ServerArgs),
    /// Nothing is changed any more, what is under way included, until it is switched off: also over
    /// restarts. The file STOP in the data folder does the same
    On {
        /// For whoever finds it on
        #[arg(long)]
        why: String,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// What was stopped may be changed again
    Off(ServerArgs),
}

/// Does it, and writes how it is then.
///
/// # Errors
/// The server can't be asked, or says no.
pub async fn run<W: Write>(command: KillSwitchCommand, out: &mut W) -> Result<(), ManageError> {
    let (server, method, body) = match command.what {
        What::Show(server) => (server, Method::GET, None),
        What::On { why, server } => (server, Method::PUT, Some(json!({ "why": why }))),
        What::Off(server) => (server, Method::DELETE, None),
    };
    let answer = Door::open(&server, DOOR)?.ask(method, "", body).await?;
    match (command.output, answer["why"].as_str()) {
        (Output::Json, _) => writeln!(out, "{answer}")?,
        (Output::Text, Some(why)) => writeln!(out, "on, nothing is changed: {why}")?,
        (Output::Text, None) if answer["on"] == Value::Bool(false) => writeln!(out, "off")?,
        (Output::Text, None) => writeln!(out, "{answer}")?,
    }
    Ok(())
}
