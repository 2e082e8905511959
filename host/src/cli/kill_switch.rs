//! `anomalyzer kill-switch show|on|off`: stops or allows all changes, over the API of a running
//! server.

use std::io::Write;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::api_client::{ApiClient, ApiError, ServerArgs};

const PATH: &str = "/api/v1/kill-switch";

/// Stop all changes, or allow them again.
#[derive(Clone, Debug, Args)]
pub struct KillSwitchCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: KillSwitchSubcommand,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Subcommands of `anomalyzer kill-switch`.
#[derive(Clone, Debug, Subcommand)]
pub enum KillSwitchSubcommand {
    /// Show whether the kill switch is on, and why
    Show(ServerArgs),
    /// Stop all changes, including those under way, until the kill switch is off. The stop outlasts
    /// restarts. The file STOP in the data folder has the same effect
    On {
        /// Reason, for people who find the kill switch on
        #[arg(long)]
        why: String,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Allow changes again
    Off(ServerArgs),
}

/// Runs the subcommand, and writes the resulting state of the kill switch.
///
/// # Errors
/// Returns an error if the server can't be reached or refuses the request, or if the output can't
/// be written.
pub async fn run<W: Write>(command: KillSwitchCommand, out: &mut W) -> Result<(), ApiError> {
    let (server, method, body) = match command.what {
        KillSwitchSubcommand::Show(server) => (server, Method::GET, None),
        KillSwitchSubcommand::On { why, server } => {
            (server, Method::PUT, Some(json!({ "why": why })))
        }
        KillSwitchSubcommand::Off(server) => (server, Method::DELETE, None),
    };
    let answer = ApiClient::open(&server, PATH)?
        .ask(method, "", body)
        .await?;
    match (command.output, answer["why"].as_str()) {
        (Output::Json, _) => writeln!(out, "{answer}")?,
        (Output::Text, Some(why)) if answer["recorded"] == Value::Bool(false) => {
            writeln!(
                out,
                "on, nothing is changed: {why} (not on record yet: see /health)"
            )?;
        }
        (Output::Text, Some(why)) => writeln!(out, "on, nothing is changed: {why}")?,
        (Output::Text, None) if answer["on"] == Value::Bool(false) => writeln!(out, "off")?,
        (Output::Text, None) => writeln!(out, "{answer}")?,
    }
    Ok(())
}
