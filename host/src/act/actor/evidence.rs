//! What is attached to a decision as evidence: what the target looks like, what its source answers,
//! what was read.

use serde_json::Value;

use super::Actor;
use crate::domain::{
    Anomaly, Decision, Evidence, EvidenceKind, Finding, Incident, Meaning, Operation, Snapshot,
};
use crate::plugin::ActionOutcome;

/// Most lines kept of one read.
const MOST_LINES: usize = 40;

impl Actor {
    /// The PromQL answers behind the incident's signals, where there is a Prometheus: what was seen
    /// by the source itself.
    pub(super) async fn add_answers(&self, decision: &mut Decision) {
        let Some(id) = &decision.incident else { return };
        let Some(incident) = self.incident(id).await else {
            return;
        };
        let mut signals: Vec<&str> = incident
            .findings
            .iter()
            .map(|finding| finding.signal.as_str())
            .collect();
        signals.dedup();
        for signal in signals.into_iter().take(3) {
            let Some(query) = self.hands.queries.get(signal) else {
                continue;
            };
            let text = match self.hands.metrics.query(query, (self.clock)()).await {
                Ok(series) => {
                    let shown = series.iter().take(5).map(|series| {
                        let values: Vec<String> = series
                            .samples
                            .iter()
                            .map(|sample| sample.value.to_string())
                            .collect();
                        format!("{} {}", series.labels, values.join(" "))
                    });
                    format!("{query} = {}", shown.collect::<Vec<_>>().join("; "))
                }
                Err(error) => format!("{query}: {error}"),
            };
            add_evidence(decision, EvidenceKind::Query, &text);
        }
    }
}

/// The finding that says most about what is wrong: of those that can be verified, the most severe;
/// demand comes last.
pub(super) fn worst(incident: &Incident) -> Option<Anomaly> {
    let rank = |finding: &&Finding| {
        (
            finding.expected.is_some(),
            finding.meaning != Meaning::Traffic,
        )
    };
    let finding = incident
        .active()
        .max_by(|a, b| {
            rank(a)
                .cmp(&rank(b))
                .then(a.severity.total_cmp(&b.severity))
        })
        .or(incident.findings.first())?;
    Some(Anomaly {
        signal: finding.signal.clone(),
        direction: finding.direction,
        score: finding.score,
        severity: finding.severity,
        observed: finding.observed,
        expected: finding.expected,
    })
}

pub(super) fn describe(snapshot: &Snapshot) -> String {
    let replicas = snapshot
        .replicas
        .map(|r| format!("{} of {} replicas ready", r.ready, r.desired))
        .unwrap_or_default();
    let pods = snapshot.pods.iter().take(10).map(|pod| {
        let reason = pod
            .reason
            .as_deref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        format!(
            "{} {}{} restarts {}{reason}",
            pod.name,
            pod.phase,
            if pod.ready { " ready" } else { " not ready" },
            pod.restarts
        )
    });
    let events = snapshot.events.iter().rev().take(5).cloned();
    let lines: Vec<String> = std::iter::once(format!(
        "{} at version {}: {replicas}",
        snapshot.target, snapshot.version
    ))
    .chain(pods)
    .chain(events)
    .collect();
    lines.join("\n")
}

pub(super) fn add_evidence(decision: &mut Decision, kind: EvidenceKind, text: &str) {
    let id = format!("e{}", decision.evidence.len() + 1);
    let text = crate::domain::truncate(text, 4_000);
    decision.evidence.push(Evidence { id, kind, text });
}

/// Attaches what a read brought as evidence.
pub(super) fn gather(decision: &mut Decision, operation: &Operation, outcome: &ActionOutcome) {
    let ActionOutcome::Done(result) = outcome else {
        return;
    };
    match operation {
        Operation::ReadLogs(request) => {
            let lines: Vec<&str> = result["lines"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let newest = &lines[lines.len().saturating_sub(MOST_LINES)..];
            let which = if request.previous {
                "the run before"
            } else {
                "the present run"
            };
            add_evidence(
                decision,
                EvidenceKind::Logs,
                &format!("{} lines of {which}:\n{}", lines.len(), newest.join("\n")),
            );
        }
        Operation::Inspect { .. } => {
            if let Ok(snapshot) = serde_json::from_value::<Snapshot>(result.clone()) {
                add_evidence(decision, EvidenceKind::Snapshot, &describe(&snapshot));
            }
        }
        Operation::Query { query } => add_evidence(
            decision,
            EvidenceKind::Query,
            &format!("{query} = {result}"),
        ),
        _ => {}
    }
}
