//! What the analyst says again.

use std::sync::Arc;

use serde_json::json;

use super::{Analyst, Came, Instead, ReplayError, Stage, Step, text};
use crate::common::clock::now_ms;
use crate::diagnose::{self, Diagnoser, DiagnoserConfig};
use crate::domain::{AnalystKind, Basis, Decision, Evidence, Proposal};

/// Diagnoses again with the stored answer, or asks another analyst. `decision` is as it was
/// proposed.
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
        let came = match diagnose::again(basis, &decision.analyst) {
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
    let nothing = Arc::new(|_: &crate::domain::Target| vec![]);
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
        None => Came::of(told(&recorded(decision)), told(&diagnosis.proposals)),
    };
    Ok(Step { stage, what, came })
}

/// What the analyst proposed, as it is on record.
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

/// The evidence that the analyst was shown: what was gathered later comes after it.
fn shown(decision: &Decision, many: usize) -> Vec<Evidence> {
    decision.evidence.iter().take(many).cloned().collect()
}

fn written(proposals: &[Proposal], cites: &[String], evidence: &[Evidence]) -> String {
    let mut proposals = proposals.to_vec();
    if let Some(first) = proposals.first_mut() {
        // A decision has one name for one action, however it was spelled.
        first.solution_type = first.solution_type.replace('-', "_");
    }
    text(&json!({ "proposals": proposals, "cites": cites, "evidence": evidence }))
}

fn told(proposals: &[Proposal]) -> String {
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
