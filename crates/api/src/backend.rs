//! The traits through which the API reaches the other parts of the process.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use anomalyzer_domain::{Decision, DecisionId, Solution, Target, UnixMs};
use anomalyzer_remediate::AnswerError;

/// Condition of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartStatus {
    /// The part works.
    Ok,
    /// The part works less well: it uses a fallback, or something waits.
    Degraded,
    /// The part does not work.
    Broken,
}

/// Condition of a part, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartHealth {
    /// Name of the part: `bus`, `source`, `ollama`, …
    #[serde(skip)]
    pub name: String,
    /// Condition of the part.
    pub status: PartStatus,
    /// Reason in words. For a part that is not ok it names the remedy.
    pub detail: String,
}

/// A window of samples that ends in a spike, published as another producer would publish it.
#[derive(Clone, Debug, PartialEq)]
pub struct TestMetric {
    /// Id of the test. It must become part of the decision's text (as a label or in the evidence),
    /// so that a search finds the decision by it.
    pub id: String,
    /// Name of the metric.
    pub name: String,
    /// Time of the last value.
    pub at: UnixMs,
    /// Values, oldest first. The last one is the spike.
    pub values: Vec<f64>,
    /// Target of the metric, if the request named one.
    pub target: Option<Target>,
}

/// A person's answer to the question of a held decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalAnswer {
    /// Id of the question.
    pub question: String,
    /// True for yes.
    pub approved: bool,
    /// Name of the person's token.
    pub by: String,
    /// Reason that the person gave.
    pub reason: String,
}

/// Reason why a part did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The part does not take it now. A later attempt may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The part will never take this request.
    #[error("{0}")]
    Invalid(String),
}

/// The parts behind `/health` and `/metrics`. Every role answers these two.
#[async_trait]
pub trait ProbeBackend: Send + Sync {
    /// Returns the condition of each part except the history, which the API asks itself.
    fn health(&self) -> Vec<PartHealth>;

    /// Updates the gauges and counters that other parts keep, before `/metrics` renders them.
    async fn before_scrape(&self) {}
}

/// The parts behind the API of the server.
#[async_trait]
pub trait Backend: ProbeBackend {
    /// Takes a person's request. Returns once the request is on record. The decision has the same
    /// id.
    async fn submit(&self, solution: Solution) -> Result<(), BackendError>;

    /// Takes a person's answer to the question of a held decision. Returns once the answer is on
    /// record.
    async fn answer(
        &self,
        id: &DecisionId,
        answer: ApprovalAnswer,
    ) -> Result<Decision, AnswerError>;

    /// Publishes a window of samples as another producer would.
    async fn send_test_metric(&self, metric: TestMetric) -> Result<(), BackendError>;

    /// Returns the answer of `/api/v1/signals`.
    fn signals(&self) -> Value;

    /// Returns the answer of `/api/v1/plugins`.
    fn plugins(&self) -> Value;
}
