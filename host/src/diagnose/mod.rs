//! Why it happens and what to do, as the analyst thinks. It is shown numbered evidence, must cite
//! it, and can only propose.

mod again;
mod breaker;
mod evidence;
mod ollama;
mod rules;
mod worker;

pub use again::{Again, again};
pub(crate) use evidence::{cut, serde_name};
pub use ollama::{OllamaConfig, OllamaHealth, Role};
pub use worker::{Diagnoser, DiagnoserConfig, Offer};

use crate::domain::{Analyst, Proposal};

/// What the analyst says.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// Best first; never empty.
    pub proposals: Vec<Proposal>,
    /// Ids of the evidence cited.
    pub cites: Vec<String>,
    /// Who says so.
    pub analyst: Analyst,
}
