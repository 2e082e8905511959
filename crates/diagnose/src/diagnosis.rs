//! Diagnosis: the answer of the analyst.

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
