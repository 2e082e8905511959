//! Events of decisions.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Basis, Decision, GuardVerdict, UnixMs};
use anomalyzer_policy::{Facts, Policy};

/// Kind of an event in the life of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DecisionEventKind {
    /// A solution was read from the topic.
    Proposed,
    /// The guard was asked.
    Guarded,
    /// The decision waits for a person's approval.
    Held,
    /// A person approved or refused.
    Answered,
    /// An operation is about to be performed. The event is recorded before the operation.
    OperationAsked,
    /// The outcome of an operation is known.
    OperationEnded,
    /// Logs, events or answers were attached.
    EvidenceGathered,
    /// All operations are done, and fresh samples are awaited.
    Verifying,
    /// Verification decided whether the operations helped.
    Verified,
    /// A rollback is in progress.
    Undoing,
    /// The decision has ended. Nothing more happens automatically.
    Ended,
}

impl DecisionEventKind {
    /// Returns the name on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Event and the complete decision after it, so that one event can be read alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionEvent {
    /// Kind of the event.
    pub kind: DecisionEventKind,
    /// Time of the event.
    #[serde(with = "anomalyzer_domain::as_rfc3339")]
    pub at: UnixMs,
    /// State of the decision after the event.
    pub decision: Decision,
    /// Input of this step, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
}

/// Input of a step, stored so that the step can be reproduced: the basis of the diagnosis when a
/// decision is proposed, and the guard's facts and policy each time the guard is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Input of the diagnosis.
    Diagnosis(Box<Basis>),
    /// Input of the guard.
    Guard(Box<Asked>),
}

/// Question to the guard and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Facts that the guard knew.
    pub facts: Facts,
    /// Policy that applied.
    pub policy: Policy,
    /// Verdict of the guard.
    pub verdict: GuardVerdict,
    /// Version of the time zone database that the policy was evaluated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zones: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::DecisionEventKind;
    use anomalyzer_domain::testing::assert_names;

    #[test]
    fn the_names_are_those_in_the_table() {
        assert_names::<DecisionEventKind>(&[
            "proposed",
            "guarded",
            "held",
            "answered",
            "operation_asked",
            "operation_ended",
            "evidence_gathered",
            "verifying",
            "verified",
            "undoing",
            "ended",
        ]);
    }
}
