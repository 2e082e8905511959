//! Analyst: finds the cause of an incident and proposes actions. It gets numbered evidence, must
//! cite it, and can only propose.

mod breaker;
mod diagnoser;
mod diagnosis;
mod evidence;
mod ollama;
mod prompt;
mod reproduce;
mod rules;

pub use diagnoser::{Diagnoser, DiagnoserConfig, Offer};
pub use diagnosis::Diagnosis;
pub use evidence::serde_name;
pub use ollama::{OllamaConfig, OllamaHealth, Role};
pub use reproduce::{Reproduction, reproduce};
