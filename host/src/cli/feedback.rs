//! `anomalyzer feedback`: what people say of findings, over the API of a running server.

use std::io::Write;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::Output;
use super::plugins::{Door, ManageError, ServerArgs};

const DOOR: &str = "/api/v1/feedback";

/// Say of a finding whether it was useful: noise raises the threshold of its detector on its
/// series, use lowers it again. Without a finding, shows what was said
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("word").args(["useful", "noise", "take_back"])))]
pub struct FeedbackArgs {
    /// The finding, as `decisions show` and /api/v1/incidents give it; with --take-back the id that
    /// is shown here
    #[arg(requires = "word")]
    pub finding: Option<String>,
    /// It was worth knowing
    #[arg(long, requires = "finding")]
    pub useful: bool,
    /// Nobody needed it
    #[arg(long, requires = "finding")]
    pub noise: bool,
    /// All that was said about that series never was
    #[arg(long, requires = "finding")]
    pub take_back: bool,
    /// For whoever reads it
    #[arg(long, default_value = "")]
    pub why: String,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Text to read, or JSON.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Does it, and writes how it is then.
///
/// # Errors
/// The server can't be asked, or says no.
pub async fn run<W: Write>(args: FeedbackArgs, out: &mut W) -> Result<(), ManageError> {
    let door = Door::open(&args.server, DOOR)?;
    let answer = match &args.finding {
        None => door.ask(Method::GET, "", None).await?,
        Some(id) if args.take_back => door.ask(Method::DELETE, id, None).await?,
        Some(id) => {
            let said = json!({ "useful": args.useful, "why": args.why });
            door.ask(Method::POST, id, Some(said)).await?
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
        let said = judged["votes"].as_array().map_or(0, Vec::len);
        let (id, signal, detector) = (text("id"), text("signal"), text("detector"));
        writeln!(
            out,
            "{id}  {signal}{} by {detector}: threshold {threshold} ({said} times something was said)",
            judged["labels"]
        )?;
    }
    Ok(())
}
