//! Analyst: finds the cause of an incident and proposes actions. It gets numbered evidence, must
//! cite it, and can only propose.

mod again;
mod breaker;
mod evidence;
mod ollama;
mod rules;
mod worker;

pub use again::{Again, again};
pub(crate) use evidence::serde_name;
pub use ollama::{OllamaConfig, OllamaHealth, Role};
pub use worker::{Diagnoser, DiagnoserConfig, Offer};

use crate::domain::{Analyst, Proposal};

/// Result of the analyst.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// Proposals, best first; never empty.
    pub proposals: Vec<Proposal>,
    /// Ids of the cited evidence.
    pub cites: Vec<String>,
    /// Author of the diagnosis.
    pub analyst: Analyst,
}
