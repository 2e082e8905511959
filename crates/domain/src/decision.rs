//! Decision: the whole record of one solution of one incident.

use serde::{Deserialize, Serialize};

use super::decision_state::{DecisionState, InvalidTransition};
use super::{
    Analyst, Answer, DecisionId, Direction, Evidence, Finding, GuardVerdict, IncidentId,
    OperationRecord, Parameters, Proposal, Provenance, Question, Range, Solution, Target, Undo,
    UnixMs, Verification, number::as_number, time::as_rfc3339,
};

/// Most telling finding of the incident, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Name of the signal.
    pub signal: String,
    /// Direction of the deviation.
    pub direction: Direction,
    /// Novelty of the value.
    #[serde(with = "as_number")]
    pub score: f64,
    /// Severity of the deviation.
    #[serde(with = "as_number")]
    pub severity: f64,
    /// Observed value.
    pub observed: Option<f64>,
    /// Expected range.
    pub expected: Option<Range>,
}

/// Record of one solution of one incident, as the API and the command line show it. The field names
/// are a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Identifier: hash(incident, solution, attempt).
    pub id: DecisionId,
    /// Incident, if the decision is about one.
    pub incident: Option<IncidentId>,
    /// Time at which the incident opened or the request arrived.
    #[serde(with = "as_rfc3339")]
    pub opened_at: UnixMs,
    /// Time at which the solution was proposed.
    #[serde(with = "as_rfc3339")]
    pub decided_at: UnixMs,
    /// Time after which the solution is not carried out.
    #[serde(with = "as_rfc3339")]
    pub expires_at: UnixMs,
    /// Number of earlier diagnoses of the incident.
    pub attempt: u32,
    /// State, private: [`Decision::transition`] alone changes it.
    state: DecisionState,
    /// Target.
    pub target: Option<Target>,
    /// Most telling finding of the incident.
    pub anomaly: Option<Anomaly>,
    /// Findings at the time of the decision. The verification compares with them, whatever becomes
    /// of the incident meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Name of the solution, which is also the action's.
    pub solution: String,
    /// Parameters of the action.
    pub parameters: Parameters,
    /// Explanation by the analyst.
    pub explanation: String,
    /// Confidence of the analyst, from 0 to 1.
    #[serde(with = "as_number")]
    pub confidence: f64,
    /// Evidence that the analyst was shown or that was gathered since.
    pub evidence: Vec<Evidence>,
    /// Identifiers of the evidence that the analyst cites.
    pub cites: Vec<String>,
    /// Alternatives of the analyst, best first.
    pub alternatives: Vec<Proposal>,
    /// Analyst.
    pub analyst: Analyst,
    /// First verdict of the guard, or the verdict that ended the decision.
    pub guard: Option<GuardVerdict>,
    /// Question to a person, while the decision is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Answers of persons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Operations.
    pub operations: Vec<OperationRecord>,
    /// Summary by the action, or the reason for the end.
    pub summary: Option<String>,
    /// Verification.
    pub verification: Option<Verification>,
    /// Rollback.
    pub undo: Option<Undo>,
    /// Provenance of the solution.
    pub provenance: Provenance,
    /// SHA-256 of the action's bytes.
    pub action_digest: Option<String>,
}

impl Decision {
    /// Builds the decision about a solution: `proposed`, with nothing decided or done yet.
    pub fn proposed(solution: &Solution) -> Self {
        Self {
            id: DecisionId::from(solution.id.clone()),
            incident: solution.incident.clone(),
            opened_at: solution.proposed_at,
            decided_at: solution.proposed_at,
            expires_at: solution.expires_at,
            attempt: solution.attempt,
            state: DecisionState::Proposed,
            target: solution.target.clone(),
            anomaly: None,
            findings: vec![],
            // One name per action, however a message spells it: rules compare by name.
            solution: solution.solution_type.replace('-', "_"),
            parameters: solution.parameters.clone(),
            explanation: solution.explanation.clone(),
            confidence: solution.confidence,
            evidence: solution.evidence.clone(),
            cites: solution.cites.clone(),
            alternatives: solution.alternatives.clone(),
            analyst: solution.analyst.clone(),
            guard: None,
            question: None,
            answers: vec![],
            operations: vec![],
            summary: None,
            verification: None,
            undo: None,
            provenance: solution.provenance.clone(),
            action_digest: None,
        }
    }

    /// Builds the record of a request that the host has carried out already: `done` from the start.
    /// Administrative events (kill switch, silences, feedback) are recorded this way.
    pub fn carried_out(solution: &Solution, summary: String) -> Self {
        Self {
            state: DecisionState::Done,
            summary: Some(summary),
            ..Self::proposed(solution)
        }
    }

    /// Builds the end of a request that no bus accepts, for example because it is too large:
    /// `failed`, so that a restart does not resume the request.
    pub fn unpublishable(solution: &Solution, error: String) -> Self {
        Self {
            state: DecisionState::Failed,
            summary: Some(error),
            ..Self::proposed(solution)
        }
    }

    /// Returns the state.
    pub fn state(&self) -> DecisionState {
        self.state
    }

    /// Moves the decision to the state `next`.
    ///
    /// # Errors
    /// [`DecisionState::may_become`] does not list the pair. The decision stays as it was.
    pub fn transition(&mut self, next: DecisionState) -> Result<(), InvalidTransition> {
        if !self.state.may_become(next) {
            return Err(InvalidTransition {
                decision: self.id.clone(),
                from: self.state,
                to: next,
            });
        }
        self.state = next;
        Ok(())
    }
}
