//! From a solution to the decision that it becomes.

use super::evidence::worst;
use anomalyzer_domain::{Decision, DecisionId, DecisionState, Incident, Phase, Solution};

/// The decision at its beginning.
pub fn proposed(solution: &Solution, incident: Option<&Incident>) -> Decision {
    let mut decision = Decision {
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
        // One name for one action, however it is spelled: rules go by it.
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
    };
    if let Some(incident) = incident {
        see(&mut decision, incident);
    }
    decision
}

/// Keeps what is wrong now, so that what clears or changes later is compared with what was seen
/// when it was decided.
pub(super) fn see(decision: &mut Decision, incident: &Incident) {
    decision.opened_at = incident.opened_at;
    decision.anomaly = worst(incident);
    decision.findings = incident
        .findings
        .iter()
        .filter(|finding| finding.phase != Phase::Clear)
        .cloned()
        .collect();
    if decision.findings.is_empty() {
        decision.findings.clone_from(&incident.findings);
    }
}
