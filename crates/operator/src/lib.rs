//! The port through which the host looks at targets and changes them. Adapters for Kubernetes and
//! for process groups implement it.

pub mod merge_patch;

use async_trait::async_trait;
use serde_json::Value;

use anomalyzer_domain::{LogRequest, Operation, OperationId, Snapshot, Target};

/// What an operation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// The version that what was touched has since, where it is known.
    pub version: Option<String>,
    /// What the action is told.
    pub result: Value,
    /// What it touched, before.
    pub before: Option<Value>,
    /// What it touched, after.
    pub after: Option<Value>,
}

/// Why an operator could not.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such target.
    #[error("{0} does not exist")]
    NotFound(Target),
    /// This operator can't do that to this kind of target.
    #[error("{0}")]
    Unsupported(String),
    /// The other side said no (401, 403, 422): nothing happened, asking again won't help.
    #[error("{0}")]
    Refused(String),
    /// The target changed since it was looked at (409): nothing happened.
    #[error("{0}")]
    Conflict(String),
    /// Nothing happened, and it may work later (429, 503 before anything was sent, no connection).
    #[error("{0}")]
    Unavailable(String),
    /// It was sent and no answer came: it may have happened.
    #[error("{0}")]
    InDoubt(String),
}

/// The host's hands for one kind of world: `kubernetes` or `local`.
#[async_trait]
pub trait Operator: Send + Sync {
    /// `kubernetes` or `local`.
    fn name(&self) -> &'static str;

    /// Whether it knows targets of this kind.
    fn handles(&self, target: &Target) -> bool;

    /// Looks.
    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError>;

    /// The last lines of each replica's log, each line with the replica's name in front.
    async fn read_logs(&self, request: &LogRequest) -> Result<Vec<String>, OperatorError>;

    /// Performs `scale`, `restart`, `roll_back` or `patch`, on the state that `basis` shows and no
    /// other, leaving `id` as its mark on the target. Returns when the change is accepted, not when
    /// it is rolled out.
    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        basis: &Snapshot,
    ) -> Result<Performed, OperatorError>;

    /// Whether it is in working order, for `/health`.
    async fn check(&self) -> Result<(), OperatorError>;
}
