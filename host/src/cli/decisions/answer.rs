//! `approve` and `reject`: answer the question of a held decision, over the API of a running
//! server.

use std::io::Write;

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::{DecisionsError, record};
use crate::cli::Output;
use crate::cli::api_client::{ApiClient, ServerArgs};
use anomalyzer_domain::{Decision, DecisionState};

const PATH: &str = "/api/v1/decisions";

/// Minimum number of hexadecimal digits that name a question.
const SHORTEST: usize = 8;

/// Arguments of `decisions approve` and `decisions reject`.
#[derive(Clone, Debug, Args)]
pub struct AnswerArgs {
    /// The decision's id.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Id of the question to answer, or its first 8 or more digits.
    #[arg(long, value_parser = question)]
    pub question: Option<String>,
    /// Reason for the answer, kept in the record.
    #[arg(long, requires = "question")]
    pub reason: Option<String>,
    /// Server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
}

fn question(text: &str) -> Result<String, String> {
    let digits = text.len() >= SHORTEST && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{SHORTEST} hexadecimal digits or more"))
    }
}

pub(super) async fn run<W: Write>(
    args: AnswerArgs,
    approved: bool,
    output: Output,
    out: &mut W,
) -> Result<(), DecisionsError> {
    let AnswerArgs {
        id,
        question: given,
        reason,
        server,
    } = args;
    let client = ApiClient::open(&server, PATH)?;
    let decision: Decision = read(client.ask(Method::GET, &id, None).await?)?;
    let Some(asked) = decision
        .question
        .as_ref()
        .filter(|_| decision.state() == DecisionState::Held)
    else {
        return Err(DecisionsError::NotHeld(
            id,
            decision.state().as_str().to_owned(),
        ));
    };
    let verb = if approved { "approve" } else { "reject" };
    let Some(given) = given else {
        match output {
            Output::Json => writeln!(out, "{}", json!(asked))?,
            Output::Text => {
                write!(out, "{}", record::question(asked))?;
                let short: String = asked.id.chars().take(12).collect();
                writeln!(
                    out,
                    "\nTo answer: anomalyzer decisions {verb} {id} --question {short} --reason '…'"
                )?;
            }
        }
        return Ok(());
    };
    if !asked.id.starts_with(&given) {
        return Err(DecisionsError::OtherQuestion {
            id,
            asked: asked.id.clone(),
            given,
        });
    }
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    let body = json!({ "question": asked.id, "reason": reason });
    let answered: Decision = read(
        client
            .ask(Method::POST, &format!("{id}/{verb}"), Some(body))
            .await?,
    )?;
    match output {
        Output::Json => writeln!(out, "{}", json!(answered))?,
        Output::Text if approved => {
            writeln!(
                out,
                "approved: {id} goes on; `anomalyzer decisions show {id}` tells how"
            )?;
        }
        Output::Text => writeln!(out, "rejected: {id} is {}", answered.state().as_str())?,
    }
    Ok(())
}

fn read(answer: serde_json::Value) -> Result<Decision, DecisionsError> {
    serde_json::from_value(answer)
        .map_err(|error| DecisionsError::Output(std::io::Error::other(error)))
}
