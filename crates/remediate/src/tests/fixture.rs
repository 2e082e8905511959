//! Incidents, solutions and decisions for tests.

use serde_json::json;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    Analyst, AnalystKind, Coverage, Decision, DecisionId, DecisionState, Direction, Finding,
    FindingId, Incident, IncidentEvent, IncidentEventKind, IncidentId, Labels, Meaning, Operation,
    OperationId, OperationRecord, Parameters, Phase, Provenance, Range, Solution, Target,
};

pub fn web() -> Target {
    Target::new("shop", "Deployment", "web")
}

/// Builds an open incident of the target, with a finding for each signal.
pub fn incident(signals: &[&str]) -> Incident {
    let now = now_ms();
    let finding = |signal: &&str| Finding {
        id: FindingId::derive(&[signal]),
        signal: (*signal).to_owned(),
        meaning: Meaning::Latency,
        labels: Labels::default(),
        detector: "zscore".into(),
        detector_digest: String::new(),
        onset_at: now - 10_000,
        at: now - 1_000,
        phase: Phase::Onset,
        direction: Direction::Above,
        score: 4.0,
        severity: 4.0,
        observed: Some(200.0),
        expected: Some(Range {
            low: Some(10.0),
            high: Some(100.0),
        }),
        reason: "high".into(),
    };
    Incident {
        id: IncidentId::derive(&["incident"]),
        target: web(),
        opened_at: now - 10_000,
        changed_at: now - 1_000,
        cleared_at: None,
        findings: signals.iter().map(finding).collect(),
        coverage: Coverage {
            asked: 1,
            answered: 1,
            failed: 0,
        },
        samples: vec![],
        foreign: false,
    }
}

pub fn event(incident: &Incident) -> IncidentEvent {
    let (kind, at) = (IncidentEventKind::Confirmed, incident.changed_at);
    IncidentEvent {
        kind,
        at,
        incident: incident.clone(),
        evidence: vec![],
        attempt: 0,
        witnesses: vec![],
    }
}

/// Builds a solution of our analyst for the incident.
pub fn proposal(incident: &Incident, solution: &str, attempt: u32) -> Solution {
    let now = now_ms();
    Solution {
        anomaly_type: "latency_above".into(),
        solution_type: solution.into(),
        explanation: "because".into(),
        id: Solution::id_of(&incident.id, solution, attempt).to_string(),
        incident: Some(incident.id.clone()),
        target: Some(incident.target.clone()),
        parameters: Parameters::new(),
        confidence: 0.5,
        evidence: vec![],
        cites: vec![],
        alternatives: vec![],
        analyst: Analyst::of(AnalystKind::Rules),
        provenance: Provenance {
            source: Provenance::ENGINE.into(),
            by: "analyst".into(),
        },
        attempt,
        proposed_at: now,
        expires_at: now + 60_000,
        basis: None,
    }
}

/// Builds a request of a person.
pub fn request(solution: &str) -> Solution {
    let id = DecisionId::derive(&["api", solution]).to_string();
    let provenance = Provenance {
        source: Provenance::API.into(),
        by: "alice".into(),
    };
    Solution {
        id,
        incident: None,
        provenance,
        ..proposal(&incident(&[]), solution, 0)
    }
}

/// Builds the record of an operation that a crash left without an outcome.
pub fn interrupted(decision: &Decision, operation: Operation) -> OperationRecord {
    OperationRecord {
        id: OperationId::derive(&[decision.id.as_str(), &decision.operations.len().to_string()]),
        kind: operation.kind().to_owned(),
        target: operation.target().cloned(),
        operation,
        asked_at: now_ms(),
        done_at: None,
        guard: None,
        outcome: None,
        before: None,
        after: None,
        version: None,
        undoes: None,
        reverted_by: None,
    }
}

/// Takes the decision through these states.
pub fn walk(decision: &mut Decision, path: &[DecisionState]) {
    path.iter()
        .for_each(|next| decision.transition(*next).unwrap());
}

/// Returns the decision as it would be on record in another state.
pub fn recorded_as(decision: &Decision, state: DecisionState) -> Decision {
    let mut body = json!(decision);
    body["state"] = json!(state);
    serde_json::from_value(body).unwrap()
}

/// Returns the id of a solution that someone else wrote at this offset.
pub fn foreign_id(offset: i64) -> DecisionId {
    DecisionId::derive(&["ai-solutions-topic", "0", &offset.to_string()])
}
