//! The whole record of one solution of one incident.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Analyst, Answer, DecisionId, Direction, Evidence, Finding, IncidentId, Operation, OperationId,
    Parameters, Proposal, Provenance, Question, Range, Target, UnixMs,
    number::as_number,
    time::{as_rfc3339, as_rfc3339_option},
};

/// Where a decision is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionState {
    /// Read from the topic.
    Proposed,
    /// Waits for a person.
    Held,
    /// The guard or the grants said no.
    Denied,
    /// Decided, recorded, not done.
    Shadowed,
    /// Operations are under way.
    Acting,
    /// Waiting for fresh samples.
    Verifying,
    /// Over.
    Done,
    /// What was done was taken back.
    Undone,
    /// The action gave up or an operation failed.
    Failed,
}

impl DecisionState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Held => "held",
            Self::Denied => "denied",
            Self::Shadowed => "shadowed",
            Self::Acting => "acting",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Proposed | Self::Acting | Self::Verifying)
    }
}

/// What was wrong, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The signal.
    pub signal: String,
    /// The direction.
    pub direction: Direction,
    /// How new it was.
    #[serde(with = "as_number")]
    pub score: f64,
    /// How bad it was.
    #[serde(with = "as_number")]
    pub severity: f64,
    /// What was seen.
    pub observed: Option<f64>,
    /// What was expected.
    pub expected: Option<Range>,
}

/// What the guard says of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// May be done.
    Allow,
    /// A person must say yes.
    Hold,
    /// Recorded, not done.
    Shadow,
    /// Not done.
    Deny,
}

/// The guard's answer, which names the rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardVerdict {
    /// The answer.
    pub verdict: Verdict,
    /// The rule.
    pub rule: String,
    /// In words.
    pub reason: String,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// It was done.
    Done,
    /// It was not done, as the mode is shadow: foreseen only.
    Foreseen,
    /// The grants, the guard or a person said no. Nothing happened.
    Denied,
    /// It was tried and did not happen.
    Failed,
    /// It was tried and can't be told.
    InDoubt,
}

/// How an operation ended, with what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// What the operation returned (done, foreseen), or why not.
    pub detail: Value,
}

/// One operation of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// hash(decision, step).
    pub id: OperationId,
    /// `scale`, `restart`, …
    pub kind: String,
    /// What it touches.
    pub target: Option<Target>,
    /// The operation itself.
    pub operation: Operation,
    /// When it was asked for: recorded before it is done.
    #[serde(with = "as_rfc3339")]
    pub asked_at: UnixMs,
    /// When its outcome was known.
    #[serde(with = "as_rfc3339_option")]
    pub done_at: Option<UnixMs>,
    /// What the guard said of it.
    pub guard: Option<GuardVerdict>,
    /// How it ended. None while it is not known.
    pub outcome: Option<Outcome>,
    /// What it touched, before.
    pub before: Option<Value>,
    /// What it touched, after.
    pub after: Option<Value>,
    /// The version that what it touched has since: any other one is someone else's doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which operation it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<OperationId>,
}

/// What became of taking back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoState {
    /// Under way.
    Undoing,
    /// What was there before is there again.
    Undone,
    /// Not now: some time after the incident has cleared.
    Later,
    /// Left as it is.
    Kept,
    /// It was tried and did not happen, or can't be told.
    Failed,
}

/// What was taken back, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What became of it.
    pub state: UndoState,
    /// Since when.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// In words.
    pub reason: String,
}

/// Did it help?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationOutcome {
    /// Back in the expected range.
    Improved,
    /// As bad as before.
    NotImproved,
    /// Further out than before.
    Worse,
    /// Too few fresh samples to tell.
    Unknown,
}

impl VerificationOutcome {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::NotImproved => "not_improved",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
        }
    }
}

/// What the verification found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Did it help?
    pub outcome: VerificationOutcome,
    /// When it was judged.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// How many fresh samples were looked at.
    pub samples: u32,
    /// In words, with figures.
    pub reason: String,
    /// What became meanwhile of those that were left alone. None where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// Other targets with an incident at the time of acting, for which nothing was done: had all of
/// them got better too, it may not be the action that helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// How many there were.
    pub left_alone: u32,
    /// Whose incident was over when it was judged.
    pub better: u32,
}

/// The whole record of one solution of one incident, as the API and the CLI give it: the field
/// names are a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// hash(incident, solution, attempt).
    pub id: DecisionId,
    /// Of which incident.
    pub incident: Option<IncidentId>,
    /// When the incident opened, or the request came.
    #[serde(with = "as_rfc3339")]
    pub opened_at: UnixMs,
    /// When the solution was proposed.
    #[serde(with = "as_rfc3339")]
    pub decided_at: UnixMs,
    /// After that it is not acted on.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
    /// How often the incident was diagnosed before.
    pub attempt: u32,
    /// Where it is.
    pub state: DecisionState,
    /// What it is about.
    pub target: Option<Target>,
    /// What was wrong.
    pub anomaly: Option<Anomaly>,
    /// All that was wrong when it was decided: what its verification compares with, whatever
    /// becomes of the incident meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Name of the action.
    pub solution: String,
    /// Parameters.
    pub parameters: Parameters,
    /// Why.
    pub explanation: String,
    /// 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
    /// What the analyst was shown, and what was gathered.
    pub evidence: Vec<Evidence>,
    /// Ids of the evidence that the analyst cites.
    pub cites: Vec<String>,
    /// What the analyst would do next, best first.
    pub alternatives: Vec<Proposal>,
    /// Who diagnosed.
    pub analyst: Analyst,
    /// What the guard said when it was asked first, or what ended the decision.
    pub guard: Option<GuardVerdict>,
    /// What a person is asked, while it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What persons said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What was done.
    pub operations: Vec<OperationRecord>,
    /// What the action said at its end.
    pub summary: Option<String>,
    /// Did it help?
    pub verification: Option<Verification>,
    /// What was taken back.
    pub undo: Option<Undo>,
    /// Where it came from.
    pub provenance: Provenance,
    /// SHA-256 of the action's bytes.
    pub action_digest: Option<String>,
}
