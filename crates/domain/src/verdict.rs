//! Verdicts of the guard.

use serde::{Deserialize, Serialize};

/// Answer of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The operation may be performed.
    Allow,
    /// A person must approve the operation.
    Hold,
    /// The operation is recorded and not performed.
    Shadow,
    /// The operation is refused.
    Deny,
}

/// Answer of the guard, with the rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardVerdict {
    /// Answer.
    pub verdict: Verdict,
    /// Name of the rule.
    pub rule: String,
    /// Reason.
    pub reason: String,
}
