//! The trait of an operator, through which the service inspects targets and changes them.
//! `operator-kubernetes` and `operator-process` implement it.

pub mod merge_patch;

use async_trait::async_trait;
use serde_json::Value;

use anomalyzer_domain::{LogRequest, Operation, OperationId, Snapshot, Target};

/// Result of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// Version of the object after the operation, if it is known.
    pub version: Option<String>,
    /// Result that the action receives.
    pub result: Value,
    /// Changed parts of the object, before the operation.
    pub before: Option<Value>,
    /// Changed parts of the object, after the operation.
    pub after: Option<Value>,
}

/// Reason why an operation or an inspection failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The target does not exist.
    #[error("{0} does not exist")]
    NotFound(Target),
    /// The operator does not support the operation for this kind of target.
    #[error("{0}")]
    Unsupported(String),
    /// The server refused the request (401, 403, 422). Nothing happened, and a retry does not help.
    #[error("{0}")]
    Refused(String),
    /// The target changed after its inspection (409). Nothing happened.
    #[error("{0}")]
    Conflict(String),
    /// Nothing happened, and a retry may help (429, 503 before anything was sent, no connection).
    #[error("{0}")]
    Unavailable(String),
    /// The request was sent and no answer came. The operation may have happened.
    #[error("{0}")]
    InDoubt(String),
}

/// Adapter for one kind of environment: `kubernetes` or `local`.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Returns the name: `kubernetes` or `local`.
    fn name(&self) -> &'static str;

    /// Returns true if the operator handles targets of this kind.
    fn handles(&self, target: &Target) -> bool;

    /// Returns a snapshot of the target.
    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError>;

    /// Returns the last log lines of each replica. Each line begins with the name of its replica.
    async fn read_logs(&self, request: &LogRequest) -> Result<Vec<String>, OperatorError>;

    /// Performs `scale`, `restart`, `roll_back` or `patch`, and leaves `id` as a mark on the
    /// target. The operation applies only to the state that `basis` shows. Returns when the change
    /// is accepted, not when it is rolled out.
    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        basis: &Snapshot,
    ) -> Result<Performed, OperatorError>;

    /// Checks that the operator works, for `/health`.
    async fn check(&self) -> Result<(), OperatorError>;
}
