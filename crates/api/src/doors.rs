//! What the API asks of the other parts.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use anomalyzer_domain::{Decision, DecisionId, Solution, Target, UnixMs};
use anomalyzer_remediate::AnswerError;

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartStatus {
    /// It works.
    Ok,
    /// It works, but less well: a fallback is used, or something waits.
    Degraded,
    /// It does not work.
    Broken,
}

/// How a part is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartHealth {
    /// `bus`, `source`, `ollama`, …
    #[serde(skip)]
    pub name: String,
    /// How it is.
    pub status: PartStatus,
    /// In words; for what is not ok with the remedy.
    pub detail: String,
}

/// A window of samples that ends in a spike, to be published as another producer would.
#[derive(Clone, Debug, PartialEq)]
pub struct TestMetric {
    /// Must become part of the decision's text (as a label or in the evidence), so that it can be
    /// found by it.
    pub id: String,
    /// The metric's name.
    pub name: String,
    /// When the last value was observed.
    pub at: UnixMs,
    /// Oldest first; the last one is the spike.
    pub values: Vec<f64>,
    /// What the metric speaks for, if that was said.
    pub target: Option<Target>,
}

/// What a person says to a held decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// To which question.
    pub question: String,
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why another part could not.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Not now: it may work later.
    #[error("{0}")]
    Unavailable(String),
    /// Not this: it will never work.
    #[error("{0}")]
    Invalid(String),
}

/// The parts behind the API.
#[async_trait]
pub trait Doors: Send + Sync {
    /// Takes a person's request. Returns when it is on record; it becomes the decision of the same
    /// id.
    async fn submit(&self, solution: Solution) -> Result<(), DoorError>;

    /// Takes a person's answer to what a held decision asks. On record when this returns.
    async fn answer(&self, id: &DecisionId, said: Said) -> Result<Decision, AnswerError>;

    /// Publishes a window as another producer would.
    async fn send_test_metric(&self, metric: TestMetric) -> Result<(), DoorError>;

    /// How the parts are, without the history, which the API asks itself.
    fn health(&self) -> Vec<PartHealth>;

    /// What `/api/v1/signals` answers.
    fn signals(&self) -> Value;

    /// What `/api/v1/plugins` answers.
    fn plugins(&self) -> Value;

    /// Brings gauges up to date that are not set as things happen.
    async fn before_scrape(&self) {}
}
