//! Replays the findings of the detectors.

use std::collections::HashMap;

use super::component::{find, load};
use super::error::ReplayError;
use super::options::{Instead, PluginSource};
use super::step::{Came, Stage, Step, text};
use anomalyzer_detect::re_evaluate;
use anomalyzer_diagnose::serde_name;
use anomalyzer_domain::{Basis, Finding, Parameters, ReplayContext, rfc3339};
use anomalyzer_plugin_host::Plugins;

/// Runs the recorded detectors again, or other detectors instead of them.
pub(super) async fn again(
    basis: &Basis,
    instead: &Instead,
    source: &PluginSource,
) -> Result<Vec<Step>, ReplayError> {
    let mut steps = Vec::new();
    let others = instead
        .detectors
        .iter()
        .map(|file| load(file, source))
        .collect::<Result<Vec<_>, _>>()?;
    let mut loaded: HashMap<String, Result<(Plugins, String), String>> = HashMap::new();
    for witness in &basis.event.witnesses {
        let finding = &witness.finding;
        let what = |name: &str| format!("{}{} by {name}", finding.signal, finding.labels);
        for (plugins, name) in &others {
            let came = ask_another(plugins, name, basis, witness).await;
            steps.push(Step {
                stage: Stage::Detect,
                what: what(name),
                came,
            });
        }
        if !others.is_empty() {
            continue;
        }
        let digest = &finding.detector_digest;
        let plugin = loaded.entry(digest.clone()).or_insert_with(|| match find(digest, &source.folders) {
            Some(file) => load(&file, source).map_err(|error| error.to_string()),
            None => Err(format!("there is no component with SHA-256 {digest} here: give its folder with --plugins")),
        });
        let came = match plugin {
            Ok((plugins, name)) => ask(plugins, name, basis, witness).await,
            Err(why) => Came::unknown(why.clone()),
        };
        steps.push(Step {
            stage: Stage::Detect,
            what: what(&finding.detector),
            came,
        });
    }
    let has_no_context = |finding: &&Finding| {
        !basis
            .event
            .witnesses
            .iter()
            .any(|witness| witness.finding.id == finding.id)
    };
    for finding in basis.event.incident.findings.iter().filter(has_no_context) {
        let why = match finding.detector_digest.is_empty() {
            true => "the host itself found it",
            false => "what its detector knew is not on record",
        };
        let what = format!(
            "{}{} by {}",
            finding.signal, finding.labels, finding.detector
        );
        steps.push(Step {
            stage: Stage::Detect,
            what,
            came: Came::unknown(why),
        });
    }
    Ok(steps)
}

async fn ask(plugins: &Plugins, name: &str, basis: &Basis, witness: &ReplayContext) -> Came {
    let was = text(&witness.finding);
    match re_evaluate(plugins, name, &basis.event.incident.target, witness).await {
        Ok(Some(finding)) if text(&finding) == was => Came::Same,
        _ if !witness.whole => Came::unknown(
            "not all that its detector knew is on record, and without it says something else",
        ),
        Ok(finding) => Came::Different {
            was,
            is: finding.map_or_else(|| "nothing".to_owned(), |finding| text(&finding)),
        },
        Err(error) => Came::Different {
            was,
            is: format!("an error: {error}"),
        },
    }
}

/// Runs another detector. A detector of another name gets the samples alone, because the saved
/// state of the recorded detector has a format of its own.
async fn ask_another(
    plugins: &Plugins,
    name: &str,
    basis: &Basis,
    witness: &ReplayContext,
) -> Came {
    let same_name = name == witness.finding.detector;
    let settings = if same_name {
        witness.settings.clone()
    } else {
        Parameters::new()
    };
    let memory = witness.memory.clone().filter(|_| same_name);
    let asked = ReplayContext {
        settings,
        memory,
        ..witness.clone()
    };
    let is = match re_evaluate(plugins, name, &basis.event.incident.target, &asked).await {
        Ok(Some(finding)) => describe(&finding),
        Ok(None) => "nothing at this sample".to_owned(),
        Err(error) => format!("an error: {error}"),
    };
    Came::of(describe(&witness.finding), is)
}

fn describe(finding: &Finding) -> String {
    let (phase, direction) = (serde_name(&finding.phase), serde_name(&finding.direction));
    let (at, score, reason) = (rfc3339(finding.at), finding.score, &finding.reason);
    format!("{phase} {direction} at {at}, score {score:.3}: {reason}")
}
