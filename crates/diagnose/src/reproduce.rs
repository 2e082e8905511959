//! Reproduces a recorded diagnosis. The same event and the stored answer give the same proposals.

use super::evidence::number;
use super::{ollama, prompt, rules};
use anomalyzer_domain::{Analyst, AnalystKind, Basis, Evidence, Proposal};

/// Reproduced diagnosis.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// Proposals, best first.
    pub proposals: Vec<Proposal>,
    /// Ids of the cited evidence.
    pub cites: Vec<String>,
    /// Evidence given to the analyst.
    pub evidence: Vec<Evidence>,
    /// Prompt given to the model. None if no model answered.
    pub prompt: Option<String>,
}

/// Repeats a diagnosis, with the stored answer if a model decided.
///
/// # Errors
/// Returns an error if there is no stored answer, or if the stored answer is invalid.
pub fn reproduce(basis: &Basis, analyst: &Analyst) -> Result<Reproduction, String> {
    let Basis { event, offered } = basis;
    let evidence = number(event);
    if analyst.kind == AnalystKind::Ollama {
        let content = analyst
            .raw_answer
            .as_deref()
            .ok_or("the model's answer is not on record")?;
        let (proposals, cites) = ollama::reread(&evidence, offered, content)?;
        // A record of an earlier version holds the prompt that this version wrote.
        let former = prompt::former(event, &evidence, offered);
        let prompt = match &analyst.prompt {
            Some(recorded) if *recorded == former => former,
            _ => prompt::prompt(event, &evidence, offered),
        };
        return Ok(Reproduction {
            proposals,
            cites,
            evidence,
            prompt: Some(prompt),
        });
    }
    let cites = evidence.iter().take(3).map(|one| one.id.clone()).collect();
    Ok(Reproduction {
        proposals: rules::propose(event, offered),
        cites,
        evidence,
        prompt: None,
    })
}
