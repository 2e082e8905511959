//! Records of operations: outcome, states before and after, and rollback.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    GuardVerdict, Operation, OperationId, Target, UnixMs,
    time::{as_rfc3339, as_rfc3339_option},
};

/// Kind of an operation's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The operation was performed.
    Done,
    /// The mode is shadow, so that the operation was only foreseen.
    Foreseen,
    /// The grants, the guard or a person refused the operation. Nothing happened.
    Denied,
    /// The operation was attempted and did not happen.
    Failed,
    /// The operation was attempted and may have happened.
    InDoubt,
}

/// Outcome of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Kind of the outcome.
    pub kind: OutcomeKind,
    /// Result of the operation (done, foreseen), or the reason why there is none.
    pub detail: Value,
}

/// Record of one operation of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Identifier: hash(decision, step).
    pub id: OperationId,
    /// Kind: `scale`, `restart`, …
    pub kind: String,
    /// Target, if the operation has one of its own.
    pub target: Option<Target>,
    /// Operation.
    pub operation: Operation,
    /// Time of the request. It is on record before the operation is performed.
    #[serde(with = "as_rfc3339")]
    pub asked_at: UnixMs,
    /// Time at which the outcome became known.
    #[serde(with = "as_rfc3339_option")]
    pub done_at: Option<UnixMs>,
    /// Verdict of the guard.
    pub guard: Option<GuardVerdict>,
    /// Outcome. `None` while it is not known.
    pub outcome: Option<Outcome>,
    /// State before the operation.
    pub before: Option<Value>,
    /// State after the operation.
    pub after: Option<Value>,
    /// Version of the target after the operation. Another version means that someone else changed
    /// the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Operation that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<OperationId>,
    /// Name of the client that put the target back after the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_by: Option<String>,
}

/// State of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoState {
    /// The rollback is under way.
    Undoing,
    /// The previous state is restored.
    Undone,
    /// The rollback happens some time after the incident has cleared.
    Later,
    /// The change is left in place.
    Kept,
    /// The rollback was attempted and did not happen, or its outcome is in doubt.
    Failed,
}

/// Rollback of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// State.
    pub state: UndoState,
    /// Time at which the state was reached.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Reason.
    pub reason: String,
}
