//! `anomalyzer replay`: makes a decision again from its record.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::Output;
use anomalyzer_diagnose::OllamaConfig;
use anomalyzer_domain::{DecisionId, UnixMs};
use anomalyzer_evaluate::replay::{Analyst, Came, Instead, PluginSource, Stage, Step, replay};
use anomalyzer_history::{FILE_NAME, RecordedEvent};
use anomalyzer_plugin_host::{PluginConfig, STORE};
use anomalyzer_service::config;
use anomalyzer_service::config::Environment;

/// Make a decision again from its record: detect, diagnose with the stored answer, guard. The exit
/// code is 1 if a result differs
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The decision
    pub decision: String,
    /// The folder in which the service keeps its data
    #[arg(long, value_name = "DIR", default_value = "anomalyzer-data")]
    pub data_dir: PathBuf,
    /// Read the record from the output of `audit export`, perhaps of another machine, instead of
    /// from the data folder
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub from: Option<PathBuf>,
    /// The folder in which detectors are found by their digest, besides the data folder
    #[arg(long, value_name = "DIR", default_value_os_t = config::plugin_folder())]
    pub plugins: PathBuf,
    /// Ask the detector in this file instead; can be given several times
    #[arg(long = "detector", value_name = "FILE")]
    pub detectors: Vec<PathBuf>,
    /// Ask this model anew instead, or `rules`
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Address of the model's server
    #[arg(
        long,
        value_name = "URL",
        env = "OLLAMA_HOST",
        default_value = "http://127.0.0.1:11434"
    )]
    pub ollama: String,
    /// Judge by `[guard]` of this configuration instead
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Program that compiles plugins: see [`anomalyzer_plugin_host::PluginConfig::compiler`]
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

/// Replays the decision. Returns true if no result differs.
///
/// # Errors
/// Returns an error if the record or a given replacement can't be read, or if the answer can't be
/// written.
pub async fn run<W: Write>(
    args: ReplayArgs,
    environment: Environment<'_>,
    out: &mut W,
) -> anyhow::Result<bool> {
    let id = DecisionId::from(args.decision.clone());
    let events = match &args.from {
        Some(file) => exported(file, &id)?,
        None => {
            anomalyzer_history::open_any_version(&args.data_dir.join(FILE_NAME))
                .await?
                .events_of(&id)
                .await?
        }
    };
    if events.is_empty() {
        anyhow::bail!(
            "there is no decision `{id}`; `anomalyzer decisions list` shows those that there are"
        );
    }
    let instead = Instead {
        detectors: args.detectors,
        analyst: args.model.map(|model| match model.as_str() {
            "rules" => Analyst::Rules,
            _ => Analyst::Model(OllamaConfig::new(args.ollama, model)),
        }),
        policy: args
            .config
            .map(|file| config::load(Some(&file), environment))
            .transpose()?
            .map(|config| config.guard),
    };
    let source = PluginSource {
        folders: vec![args.data_dir.join(STORE), args.plugins],
        config: PluginConfig {
            cache: Some(config::cache_folder().join("compiled")),
            compiler: args.compiler,
            ..PluginConfig::default()
        },
    };
    let steps = replay(&events, &instead, &source).await?;
    let same = !steps
        .iter()
        .any(|step| matches!(step.came, Came::Different { .. }));
    match args.output {
        Output::Json => writeln!(
            out,
            "{}",
            json!({ "decision": id, "same": same, "steps": steps })
        )?,
        Output::Text => write!(out, "{}", written(&steps))?,
    }
    Ok(same)
}

#[derive(Deserialize)]
struct Line {
    chain: String,
    seq: i64,
    subject: String,
    at: UnixMs,
    kind: String,
    body: String,
}

fn exported(file: &PathBuf, id: &DecisionId) -> anyhow::Result<Vec<RecordedEvent>> {
    let wrong = |why: String| {
        anyhow::anyhow!(
            "{}: {why}; give what `anomalyzer audit export` wrote",
            file.display()
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at_line = |error: serde_json::Error| wrong(format!("line {}: {error}", number + 1));
        let line: Line = serde_json::from_str(line).map_err(at_line)?;
        if line.chain != "decisions" || line.subject != id.as_str() {
            continue;
        }
        events.push(
            RecordedEvent::read(line.seq, line.at, line.kind, line.body.as_bytes())
                .map_err(at_line)?,
        );
    }
    Ok(events)
}

fn written(steps: &[Step]) -> String {
    let mut text = String::new();
    let (mut same, mut different, mut unknown) = (0, 0, 0);
    for Step { stage, what, came } in steps {
        let stage = match stage {
            Stage::Detect => "detect",
            Stage::Diagnose => "diagnose",
            Stage::Guard => "guard",
        };
        text.push_str(&match came {
            Came::Same => {
                same += 1;
                format!("{stage:<9} {what}: the same\n")
            }
            Came::Different { was, is } => {
                different += 1;
                format!("{stage:<9} {what}: DIFFERENT\n          was {was}\n          is  {is}\n")
            }
            Came::Unknown { why } => {
                unknown += 1;
                format!("{stage:<9} {what}: not decided again: {why}\n")
            }
        });
    }
    let rest = if unknown > 0 {
        format!(", {unknown} not decided again")
    } else {
        String::new()
    };
    text.push_str(&format!("{same} the same, {different} different{rest}\n"));
    text
}
