//! Approval questions and answers: the request put to a person before an operation, and the reply.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DecisionId, Operation, Snapshot, UnixMs, time::as_rfc3339};

/// Request for approval of one operation on one state of its target. A decision waits for the
/// answer. A yes covers only this operation on this state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// SHA-256 over decision, operation and state, in hex. An answer refers to the question by this
    /// id.
    pub id: String,
    /// Operation to approve.
    pub operation: Operation,
    /// Version of the touched target when the question was asked, in the operator's notation. None
    /// if the target can't be inspected, or the operation touches no target.
    pub version: Option<String>,
    /// Time at which the question was asked.
    #[serde(with = "as_rfc3339")]
    pub asked_at: UnixMs,
    /// Time after which the question counts as answered with no.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
}

impl Question {
    /// Derives the id of a question about `operation` on the state `touched`.
    pub fn id_of(
        decision: &DecisionId,
        operation: &Operation,
        touched: Option<&Snapshot>,
    ) -> String {
        let version = touched.map(|snapshot| snapshot.version.as_str());
        // A sequence of JSON values can be parsed in only one way, so different inputs never share
        // a text.
        let text = serde_json::json!([decision, operation, version]).to_string();
        hex::encode(Sha256::digest(text))
    }
}

/// A person's reply to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Id of the [`Question`].
    pub question: String,
    /// True for yes, false for no.
    pub approved: bool,
    /// Name of the person who answered.
    pub by: String,
    /// Reason that the person gave.
    pub reason: String,
    /// Time of the answer.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Time after which a yes is no longer valid.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
}
