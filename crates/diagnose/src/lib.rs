//! Analyst: finds the cause of an incident and proposes actions. It gets numbered evidence, must
//! cite it, and can only propose.

mod breaker;
mod diagnoser;
mod evidence;
mod ollama;
mod reproduce;
mod rules;

pub use diagnoser::{Diagnoser, DiagnoserConfig, Offer};
pub use evidence::serde_name;
pub use ollama::{OllamaConfig, OllamaHealth, Role};
pub use reproduce::{Again, again};

use anomalyzer_domain::{Analyst, Proposal};

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
