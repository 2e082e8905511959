//! Replays the diagnosis of the analyst.

use std::sync::Arc;

use serde_json::json;

use super::error::ReplayError;
use super::options::{Analyst, Instead};
use super::step::{Came, Stage, Step, text};
use anomalyzer_common::clock::now_ms;
use anomalyzer_diagnose::{Diagnoser, DiagnoserConfig};
use anomalyzer_domain::{AnalystKind, Basis, Decision, Evidence, Proposal};

/// Repeats the diagnosis with the stored response, or asks another analyst. `decision` must be in
/// its state of the proposal.
pub(super) async fn again(
    decision: &Decision,
    basis: &Basis,
    instead: &Instead,
) -> Result<Step, ReplayError> {
    let stage = Stage::Diagnose;
    let Some(other) = &instead.analyst else {
        let what = match (&decision.analyst.kind, &decision.analyst.model) {
            (AnalystKind::Ollama, Some(model)) => format!("the stored answer of {model}"),
            _ => "the rules".to_owned(),
        };
        let came = match anomalyzer_diagnose::reproduce(basis, &decision.analyst) {
            Ok(again) => {
                let was = written(
                    &recorded(decision),
                    &decision.cites,
                    &shown(decision, again.evidence.len()),
                );
                let is = written(&again.proposals, &again.cites, &again.evidence);
                match again.prompt {
                    Some(prompt) if Some(&prompt) != decision.analyst.prompt.as_ref() => {
                        Came::Different {
                            was: decision.analyst.prompt.clone().unwrap_or_default(),
                            is: prompt,
                        }
                    }
                    _ => Came::of(was, is),
                }
            }
            Err(why) => Came::unknown(why),
        };
        return Ok(Step { stage, what, came });
    };
    let (what, ollama) = match other {
        Analyst::Rules => ("the rules".to_owned(), None),
        Analyst::Model(config) => (
            format!("{}, asked anew", config.model),
            Some(config.clone()),
        ),
    };
    let nothing = Arc::new(|_: &anomalyzer_domain::Target| vec![]);
    let diagnoser = Diagnoser::new(
        DiagnoserConfig::default(),
        ollama,
        nothing,
        Arc::new(now_ms),
    );
    let diagnoser = diagnoser.map_err(ReplayError::Wrong)?;
    let (diagnosis, _) = diagnoser.diagnose_from(&basis.event, &basis.offered).await;
    let why_rules = diagnosis
        .analyst
        .why_rules
        .filter(|_| matches!(other, Analyst::Model(_)));
    let came = match why_rules {
        Some(why) => Came::unknown(why),
        None => Came::of(
            describe(&recorded(decision)),
            describe(&diagnosis.proposals),
        ),
    };
    Ok(Step { stage, what, came })
}

/// Returns the recorded proposals of the analyst.
fn recorded(decision: &Decision) -> Vec<Proposal> {
    let first = Proposal {
        solution_type: decision.solution.clone(),
        parameters: decision.parameters.clone(),
        explanation: decision.explanation.clone(),
        confidence: decision.confidence,
    };
    std::iter::once(first)
        .chain(decision.alternatives.iter().cloned())
        .collect()
}

/// Returns the first `many` pieces of evidence, which the analyst was shown. Later evidence comes
/// after them.
fn shown(decision: &Decision, many: usize) -> Vec<Evidence> {
    decision.evidence.iter().take(many).cloned().collect()
}

fn written(proposals: &[Proposal], cites: &[String], evidence: &[Evidence]) -> String {
    let mut proposals = proposals.to_vec();
    if let Some(first) = proposals.first_mut() {
        // A decision uses one spelling of the name of an action, whichever the analyst used.
        first.solution_type = first.solution_type.replace('-', "_");
    }
    text(&json!({ "proposals": proposals, "cites": cites, "evidence": evidence }))
}

fn describe(proposals: &[Proposal]) -> String {
    let names: Vec<String> = proposals
        .iter()
        .map(|proposal| {
            let (name, sure) = (
                proposal.solution_type.replace('-', "_"),
                proposal.confidence,
            );
            format!("{name} (confidence {sure})")
        })
        .collect();
    names.join(", else ")
}
