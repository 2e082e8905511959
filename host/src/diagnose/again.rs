//! A diagnosis once more, from what is on record of it: the same event and the stored answer give
//! the same proposals.

use super::evidence::number;
use super::{ollama, rules};
use crate::domain::{Analyst, AnalystKind, Basis, Evidence, Proposal};

/// What the analyst says again.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Best first.
    pub proposals: Vec<Proposal>,
    /// Ids of the evidence cited.
    pub cites: Vec<String>,
    /// What is shown to an analyst.
    pub evidence: Vec<Evidence>,
    /// What a model is shown. None where none answered.
    pub prompt: Option<String>,
}

/// Diagnoses once more, with the stored answer where a model decided.
///
/// # Errors
/// There is no stored answer, or it is of no use.
pub fn again(basis: &Basis, analyst: &Analyst) -> Result<Again, String> {
    let Basis { event, offered } = basis;
    let evidence = number(event);
    if analyst.kind == AnalystKind::Ollama {
        let content = analyst
            .raw_answer
            .as_deref()
            .ok_or("the model's answer is not on record")?;
        let (proposals, cites) = ollama::reread(&evidence, offered, content)?;
        let prompt = ollama::prompt(event, &evidence, offered);
        return Ok(Again {
            proposals,
            cites,
            evidence,
            prompt: Some(prompt),
        });
    }
    let cites = evidence.iter().take(3).map(|one| one.id.clone()).collect();
    Ok(Again {
        proposals: rules::propose(event, offered),
        cites,
        evidence,
        prompt: None,
    })
}
