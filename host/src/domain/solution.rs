//! What the analyst proposes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Basis, DecisionId, IncidentId, Target, UnixMs, number::as_number, time::as_rfc3339};

/// Parameters of a solution.
pub type Parameters = Map<String, Value>;

/// The names of the eight solutions that come with the host. An uploaded action adds its own.
pub mod solutions {
    /// More replicas.
    pub const SCALE_UP: &str = "scale_up";
    /// Fewer replicas.
    pub const SCALE_DOWN: &str = "scale_down";
    /// Restart, replica by replica.
    pub const RESTART_SERVICE: &str = "restart_service";
    /// Limit the traffic that is let in.
    pub const RATE_LIMIT: &str = "rate_limit";
    /// Tell people.
    pub const ALARM: &str = "alarm";
    /// Read the logs and think again.
    pub const CHECK_LOGS: &str = "check_logs";
    /// Gather all there is and think again.
    pub const INVESTIGATE: &str = "investigate";
    /// Nothing.
    pub const NO_ACTION: &str = "no_action";
    /// All eight.
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

/// What kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A finding.
    Finding,
    /// Samples around the onset.
    Samples,
    /// Who answered.
    Coverage,
    /// What the target looks like.
    Snapshot,
    /// Log lines.
    Logs,
    /// Events of the target.
    Events,
    /// An answer of the metrics source.
    Query,
}

/// A numbered piece of evidence, to be cited by its id. Its text is data, never instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `e1`, `e2`, …
    pub id: String,
    /// What it is.
    pub kind: EvidenceKind,
    /// What it says.
    pub text: String,
}

/// Who diagnosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalystKind {
    /// A language model served by Ollama.
    Ollama,
    /// Our rules.
    Rules,
    /// Someone else: a person by API, or another producer.
    External,
}

/// Who diagnosed, with all that is needed to look at it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analyst {
    /// Who.
    pub kind: AnalystKind,
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why the rules decided: `ollama is not configured`, `ollama did not answer within 20 s`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_rules: Option<String>,
    /// What the model was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// SHA-256 of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<String>,
    /// What the model answered, to the byte, also when it was of no use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_answer: Option<String>,
}

impl Analyst {
    /// One that is no model.
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

/// One way out, as the analyst sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Name of the action: one of [`solutions`] or of an uploaded one.
    pub solution_type: String,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Parameters,
    /// Why.
    pub explanation: String,
    /// 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
}

/// Where a solution came from. On a topic this is only what the message says of itself: see `act`
/// for whom it is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// [`Provenance::ENGINE`], [`Provenance::API`], or [`Provenance::TOPIC`].
    pub source: String,
    /// Who asked (API), or topic/partition/offset.
    pub by: String,
}

impl Provenance {
    /// Our analyst.
    pub const ENGINE: &'static str = "engine";
    /// A person, by the API.
    pub const API: &'static str = "api";
    /// A message from someone else.
    pub const TOPIC: &'static str = "topic";
}

/// What travels on `ai-solutions-topic`. The first three fields are what other consumers know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solution {
    /// What is wrong: the name of the signal and the direction, as `latency_above`.
    pub anomaly_type: String,
    /// Name of the action.
    pub solution_type: String,
    /// Why.
    pub explanation: String,
    /// The id of the decision that comes of it: hash(incident, solution, attempt).
    pub id: String,
    /// Of which incident. None for what a person or someone else asked for.
    pub incident: Option<IncidentId>,
    /// What it is about. Without a target it is denied.
    pub target: Option<Target>,
    /// Parameters of the action.
    pub parameters: Parameters,
    /// 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
    /// What the analyst was shown.
    pub evidence: Vec<Evidence>,
    /// Ids of the evidence that it cites.
    pub cites: Vec<String>,
    /// What it would do next, best first.
    pub alternatives: Vec<Proposal>,
    /// Who diagnosed.
    pub analyst: Analyst,
    /// Where it came from.
    pub provenance: Provenance,
    /// How often this incident was diagnosed before.
    pub attempt: u32,
    /// When it was proposed.
    #[serde(with = "as_rfc3339")]
    pub proposed_at: UnixMs,
    /// After that it is not acted on.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
    /// What our analyst was given, if it is not too much to travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Box<Basis>>,
}

impl Solution {
    /// The id of what our analyst proposes: hash(incident, solution, attempt).
    pub fn id_of(incident: &IncidentId, solution_type: &str, attempt: u32) -> DecisionId {
        DecisionId::derive(&[incident.as_str(), solution_type, &attempt.to_string()])
    }
}
