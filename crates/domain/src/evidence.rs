//! Evidence: numbered texts that an analyst cites.

use serde::{Deserialize, Serialize};

/// Kind of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A finding.
    Finding,
    /// Samples around the onset.
    Samples,
    /// Coverage of the sources.
    Coverage,
    /// Snapshot of the target.
    Snapshot,
    /// Log lines.
    Logs,
    /// Events of the target.
    Events,
    /// Answer of the metrics source.
    Query,
}

/// Numbered piece of evidence, cited by its id. Its text is data and never an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Id of the evidence: `e1`, `e2`, …
    pub id: String,
    /// Kind of the evidence.
    pub kind: EvidenceKind,
    /// Content of the evidence.
    pub text: String,
}
