//! Evidence that is attached to a decision: snapshots of the target, answers to queries, log lines.

use serde_json::Value;

use super::{Executor, provenance};
use anomalyzer_domain::{Decision, Evidence, EvidenceKind, Operation, Snapshot};
use anomalyzer_plugin_host::ActionOutcome;

/// Maximum number of log lines kept of one read.
const MAX_LOG_LINES: usize = 40;
/// Maximum number of signals whose query is asked.
const MAX_QUERIES: usize = 3;

/// Attaches the answers of Prometheus to the queries behind the incident's signals, if a Prometheus
/// is configured.
pub(super) async fn add_query_answers(executor: &Executor, decision: &mut Decision) {
    let Some(id) = &decision.incident else { return };
    let Some(incident) = provenance::incident(executor, id).await else {
        return;
    };
    let mut signals: Vec<&str> = incident
        .findings
        .iter()
        .map(|finding| finding.signal.as_str())
        .collect();
    signals.dedup();
    for signal in signals.into_iter().take(MAX_QUERIES) {
        let Some(query) = executor.dispatcher.queries.get(signal) else {
            continue;
        };
        let text = match executor
            .dispatcher
            .metrics
            .query(query, (executor.clock)())
            .await
        {
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

/// Describes a target in a few lines: replicas, pods and recent events.
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

/// Attaches a text as evidence under the next number.
pub(super) fn add_evidence(decision: &mut Decision, kind: EvidenceKind, text: &str) {
    let id = format!("e{}", decision.evidence.len() + 1);
    let text = anomalyzer_domain::truncate(text, 4_000);
    decision.evidence.push(Evidence { id, kind, text });
}

/// Attaches the result of a read as evidence.
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
            let newest = &lines[lines.len().saturating_sub(MAX_LOG_LINES)..];
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
