//! From a solution and its incident to the decision about both.

use anomalyzer_domain::{Anomaly, Decision, Incident, Phase, Solution};

/// Builds the decision about a solution, with the findings of its incident if that is known.
pub(super) fn proposed(solution: &Solution, incident: Option<&Incident>) -> Decision {
    let mut decision = Decision::proposed(solution);
    if let Some(incident) = incident {
        attach_incident(&mut decision, incident);
    }
    decision
}

/// Copies the incident's findings into the decision. The verification compares with these findings,
/// even if a finding clears or changes later.
pub(super) fn attach_incident(decision: &mut Decision, incident: &Incident) {
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

/// Returns the most telling finding in short; see [`Incident::worst_verifiable`].
fn worst(incident: &Incident) -> Option<Anomaly> {
    let finding = incident.worst_verifiable()?;
    Some(Anomaly {
        signal: finding.signal.clone(),
        direction: finding.direction,
        score: finding.score,
        severity: finding.severity,
        observed: finding.observed,
        expected: finding.expected,
    })
}
