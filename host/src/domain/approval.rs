//! What a person is asked before an operation, and what they say.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DecisionId, Operation, Snapshot, UnixMs, time::as_rfc3339};

/// What a decision waits for: a yes to this operation on this state of its target, and to nothing
/// else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// SHA-256 over decision, operation and state, in hex: what is answered.
    pub id: String,
    /// What would be done.
    pub operation: Operation,
    /// The operator's word for what was asked of what is touched, when the question came up. None
    /// if it can't be looked at, or the operation touches no target.
    pub version: Option<String>,
    /// Since when it waits.
    #[serde(with = "as_rfc3339")]
    pub asked_at: UnixMs,
    /// After that it is a no.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
}

impl Question {
    /// What a question about an operation on what it touches is called.
    pub fn id_of(
        decision: &DecisionId,
        operation: &Operation,
        touched: Option<&Snapshot>,
    ) -> String {
        let version = touched.map(|snapshot| snapshot.version.as_str());
        // A sequence of JSON values has one reading only.
        let text = serde_json::json!([decision, operation, version]).to_string();
        hex::encode(Sha256::digest(text))
    }
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The [`Question`]'s id.
    pub question: String,
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// After that a yes counts no more.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
}
