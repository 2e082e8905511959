//! One step of a decision.

use serde::{Deserialize, Serialize};

use crate::domain::{Basis, Decision, GuardVerdict, UnixMs};
use crate::guard::{Facts, Policy};

/// What happened to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionEventKind {
    /// A solution was read from the topic.
    Proposed,
    /// The guard was asked.
    Guarded,
    /// A person is asked.
    Held,
    /// A person said yes or no.
    Answered,
    /// An operation is about to be performed: recorded before it is.
    OperationAsked,
    /// An operation's outcome is known.
    OperationEnded,
    /// Logs, events or answers were attached.
    EvidenceGathered,
    /// All operations are done; fresh samples are awaited.
    Verifying,
    /// It was judged whether it helped.
    Verified,
    /// What was done is being taken back.
    Undoing,
    /// Nothing more happens by itself.
    Ended,
}

impl DecisionEventKind {
    /// The name on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Guarded => "guarded",
            Self::Held => "held",
            Self::Answered => "answered",
            Self::OperationAsked => "operation_asked",
            Self::OperationEnded => "operation_ended",
            Self::EvidenceGathered => "evidence_gathered",
            Self::Verifying => "verifying",
            Self::Verified => "verified",
            Self::Undoing => "undoing",
            Self::Ended => "ended",
        }
    }
}

/// What happened, and the decision as it is since: always the whole of it, so that one event alone
/// can be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionEvent {
    /// What happened.
    pub kind: DecisionEventKind,
    /// When.
    #[serde(with = "crate::domain::as_rfc3339")]
    pub at: UnixMs,
    /// The state after it.
    pub decision: Decision,
    /// What was decided on in this step, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
}

/// What was decided on, so that it can be decided again: the decision's diagnosis when it was
/// proposed, the guard's facts and policy whenever it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Of the diagnosis.
    Diagnosis(Box<Basis>),
    /// Of the guard.
    Guard(Box<Asked>),
}

/// What the guard was asked, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What it knew.
    pub facts: Facts,
    /// What was allowed.
    pub policy: Policy,
    /// What it said.
    pub verdict: GuardVerdict,
}
