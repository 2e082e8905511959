//! Incidents, solutions and decisions for tests.

use serde_json::json;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::testing;
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, Finding, Incident, IncidentEvent, IncidentEventKind,
    IncidentId, Operation, OperationId, OperationRecord, Provenance, Range, Solution, UnixMs,
};

pub use anomalyzer_domain::testing::{coverage, scale, walk, web};

/// Builds an open incident of the target, with a finding for each signal.
pub fn incident(signals: &[&str]) -> Incident {
    let now = now_ms();
    let finding = |signal: &&str| Finding {
        onset_at: now - 10_000,
        at: now - 1_000,
        score: 4.0,
        severity: 4.0,
        observed: Some(200.0),
        expected: Some(Range {
            low: Some(10.0),
            high: Some(100.0),
        }),
        reason: "high".into(),
        ..testing::finding(signal)
    };
    let findings = signals.iter().map(finding).collect();
    Incident {
        opened_at: now - 10_000,
        changed_at: now - 1_000,
        ..testing::incident(IncidentId::derive(&["incident"]).as_str(), findings)
    }
}

pub fn event(incident: &Incident) -> IncidentEvent {
    let at = incident.changed_at;
    IncidentEvent::new(IncidentEventKind::Confirmed, at, incident.clone())
}

/// Returns the event that the incident cleared at the given time.
pub fn cleared(incident: &Incident, at: UnixMs) -> IncidentEvent {
    let incident = Incident {
        cleared_at: Some(at),
        changed_at: at,
        ..incident.clone()
    };
    IncidentEvent::new(IncidentEventKind::Cleared, at, incident)
}

/// Builds a solution of our analyst for the incident.
pub fn proposal(incident: &Incident, solution: &str, attempt: u32) -> Solution {
    let now = now_ms();
    let id = Solution::id_of(&incident.id, solution, attempt);
    Solution {
        incident: Some(incident.id.clone()),
        target: Some(incident.target.clone()),
        attempt,
        proposed_at: now,
        expires_at: now + 60_000,
        ..testing::solution(id.as_str(), solution)
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
    let step = decision.operations.len().to_string();
    let id = OperationId::derive(&[decision.id.as_str(), &step]);
    OperationRecord {
        asked_at: now_ms(),
        ..testing::operation_record(id.as_str(), operation)
    }
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
