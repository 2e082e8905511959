//! Solutions: proposals of the analyst.

use serde::{Deserialize, Serialize};

use super::{
    Basis, DecisionId, Evidence, IncidentId, Parameters, Target, UnixMs, number::as_number,
    time::as_rfc3339,
};

/// Names of the eight built-in solutions. An uploaded action adds its own name.
pub mod solutions {
    /// Adds replicas.
    pub const SCALE_UP: &str = "scale_up";
    /// Removes replicas.
    pub const SCALE_DOWN: &str = "scale_down";
    /// Restarts the service, replica by replica.
    pub const RESTART_SERVICE: &str = "restart_service";
    /// Limits the admitted traffic.
    pub const RATE_LIMIT: &str = "rate_limit";
    /// Notifies people.
    pub const ALARM: &str = "alarm";
    /// Reads the logs and diagnoses again.
    pub const CHECK_LOGS: &str = "check_logs";
    /// Gathers all available evidence and diagnoses again.
    pub const INVESTIGATE: &str = "investigate";
    /// Does nothing.
    pub const NO_ACTION: &str = "no_action";
    /// Names of all eight built-in solutions.
    pub const ALL: [&str; 8] = [
        SCALE_UP,
        SCALE_DOWN,
        RESTART_SERVICE,
        RATE_LIMIT,
        ALARM,
        CHECK_LOGS,
        INVESTIGATE,
        NO_ACTION,
    ];
}

/// Kind of an analyst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalystKind {
    /// Language model served by Ollama.
    Ollama,
    /// Built-in rules.
    Rules,
    /// Another author: a person through the API, or another producer.
    External,
}

/// Author of a diagnosis, with all details needed to review it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analyst {
    /// Kind of the analyst.
    pub kind: AnalystKind,
    /// Name of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Digest of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Duration of the diagnosis in milliseconds.
    pub took_ms: u64,
    /// Reason why the rules decided: `ollama is not configured`, `ollama did not answer within 20
    /// s`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_rules: Option<String>,
    /// Prompt given to the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// SHA-256 of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<String>,
    /// Answer of the model, byte for byte, even if it was unusable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_answer: Option<String>,
}

impl Analyst {
    /// Creates an analyst of the given kind without details of a model.
    pub fn of(kind: AnalystKind) -> Self {
        Self {
            kind,
            model: None,
            digest: None,
            took_ms: 0,
            why_rules: None,
            prompt: None,
            prompt_sha256: None,
            raw_answer: None,
        }
    }
}

/// One possible action, as the analyst judges it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Name of the action: one of [`solutions`] or an uploaded action.
    pub solution_type: String,
    /// Parameters of the action.
    #[serde(default)]
    pub parameters: Parameters,
    /// Reason for the proposal.
    pub explanation: String,
    /// Confidence of the analyst, from 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
}

/// Origin of a solution. On a topic this is only the message's own claim; see `act` for the checks
/// that decide whether the claim is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// [`Provenance::ENGINE`], [`Provenance::API`], or [`Provenance::TOPIC`].
    pub source: String,
    /// Name of the requester (API), or topic/partition/offset.
    pub by: String,
}

impl Provenance {
    /// The built-in analyst.
    pub const ENGINE: &'static str = "engine";
    /// A person, through the API.
    pub const API: &'static str = "api";
    /// A message of another producer.
    pub const TOPIC: &'static str = "topic";
}

/// Message on `ai-solutions-topic`. Other consumers know only the first three fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solution {
    /// Anomaly: the name of the signal and the direction, for example `latency_above`.
    pub anomaly_type: String,
    /// Name of the action.
    pub solution_type: String,
    /// Reason for the solution.
    pub explanation: String,
    /// Id of the resulting decision: hash(incident, solution, attempt).
    pub id: String,
    /// Id of the incident. None for a solution that a person or another producer requested.
    pub incident: Option<IncidentId>,
    /// Target of the solution. A solution without a target is denied.
    pub target: Option<Target>,
    /// Parameters of the action.
    pub parameters: Parameters,
    /// Confidence of the analyst, from 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
    /// Evidence given to the analyst.
    pub evidence: Vec<Evidence>,
    /// Ids of the cited evidence.
    pub cites: Vec<String>,
    /// Alternatives that the analyst would try next, best first.
    pub alternatives: Vec<Proposal>,
    /// Author of the diagnosis.
    pub analyst: Analyst,
    /// Origin of the solution.
    pub provenance: Provenance,
    /// Number of earlier diagnoses of the incident.
    pub attempt: u32,
    /// Time of the proposal.
    #[serde(with = "as_rfc3339")]
    pub proposed_at: UnixMs,
    /// Time after which the solution is no longer acted on.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
    /// Input of the built-in analyst, unless it is too large for a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Box<Basis>>,
}

impl Solution {
    /// Derives the id of a solution proposed by the built-in analyst: hash(incident, solution,
    /// attempt).
    pub fn id_of(incident: &IncidentId, solution_type: &str, attempt: u32) -> DecisionId {
        DecisionId::derive(&[incident.as_str(), solution_type, &attempt.to_string()])
    }
}
