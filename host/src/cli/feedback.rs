//! `anomalyzer feedback`: records people's feedback on findings, over the API of a running server.

use std::io::Write;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::api_client::{ApiClient, ApiError, ServerArgs};

const PATH: &str = "/api/v1/feedback";

/// Say whether a finding was useful: `--noise` raises the threshold of its detector on its series,
/// `--useful` lowers it again. Without a finding, shows the recorded feedback
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("word").args(["useful", "noise", "take_back"])))]
pub struct FeedbackArgs {
    /// The finding's id, as shown by `decisions show` and /api/v1/incidents; with --take-back the
    /// id that this command shows
    #[arg(requires = "word")]
    pub finding: Option<String>,
    /// The finding was worth knowing
    #[arg(long, requires = "finding")]
    pub useful: bool,
    /// Nobody needed the finding
    #[arg(long, requires = "finding")]
    pub noise: bool,
    /// Delete all feedback about that series
    #[arg(long, requires = "finding")]
    pub take_back: bool,
    /// Reason, for people who read the feedback
    #[arg(long, default_value = "")]
    pub why: String,
    /// Server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Text for people, or JSON.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs the subcommand, and writes the resulting feedback.
///
/// # Errors
/// Returns an error if the server can't be reached or refuses the request, or if the output can't
/// be written.
pub async fn run<W: Write>(args: FeedbackArgs, out: &mut W) -> Result<(), ApiError> {
    let client = ApiClient::open(&args.server, PATH)?;
    let answer = match &args.finding {
        None => client.ask(Method::GET, "", None).await?,
        Some(id) if args.take_back => client.ask(Method::DELETE, id, None).await?,
        Some(id) => {
            let vote = json!({ "useful": args.useful, "why": args.why });
            client.ask(Method::POST, id, Some(vote)).await?
        }
    };
    if args.output == Output::Json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let shown = match answer["feedback"].as_array() {
        Some(all) => all.clone(),
        None => vec![answer],
    };
    if shown.is_empty() {
        writeln!(
            out,
            "nothing was said: all thresholds are the detectors' own"
        )?;
    }
    for judged in shown {
        let text = |key: &str| judged[key].as_str().unwrap_or_default().to_owned();
        let threshold = if args.take_back {
            &Value::from(1.0)
        } else {
            &judged["threshold"]
        };
        let votes = judged["votes"].as_array().map_or(0, Vec::len);
        let (id, signal, detector) = (text("id"), text("signal"), text("detector"));
        writeln!(
            out,
            "{id}  {signal}{} by {detector}: threshold {threshold} ({votes} times something was said)",
            judged["labels"]
        )?;
    }
    Ok(())
}
