//! Echo of replaced pods: cAdvisor repeats the memory of a dead container for five minutes, so that
//! a sum over the pods is too high after a restart. An echo leads to no further restart.

use super::Executor;
use super::effects::is_change;
use anomalyzer_domain::{
    Decision, Finding, Incident, Meaning, Operation, OutcomeKind, Target, UnixMs, millis,
};
use anomalyzer_history::PastOperation;
use anomalyzer_policy::TargetFacts;

/// Returns true if the samples behind the finding may be those of a pod that is gone.
pub(super) fn can_echo(finding: &Finding) -> bool {
    matches!(finding.meaning, Meaning::Memory | Meaning::Saturation)
}

/// Returns true if the decision replaced pods on Kubernetes.
pub(super) fn replaces_pods(decision: &Decision) -> bool {
    let mut changes = decision.operations.iter().filter(|it| is_change(it));
    changes.any(|record| {
        let target = record.operation.target();
        record.operation.replaces_pods() && target.is_some_and(has_pods)
    })
}

fn has_pods(target: &Target) -> bool {
    matches!(
        target.kind.as_str(),
        "Deployment" | "StatefulSet" | "DaemonSet"
    )
}

/// Returns the facts about a target that follow from earlier operations on it, requested at `since`
/// or later.
pub(super) async fn target_facts(
    executor: &Executor,
    decision: &Decision,
    operation: Option<&Operation>,
    incident: Option<&Incident>,
    since: UnixMs,
) -> TargetFacts {
    let Some((operation, target)) = operation.and_then(|it| Some((it, it.target()?))) else {
        return TargetFacts::default();
    };
    match executor.history.operations_since(Some(target), since).await {
        Ok(past) => {
            let past = past.iter().filter(|past| past.decision != decision.id);
            let past: Vec<_> = past.collect();
            TargetFacts {
                unseen: None,
                reverted_by: reverted_by(operation, &past),
                echo_until: incident
                    .filter(|incident| has_pods(target) && is_echo(incident))
                    .and_then(|_| replaced_at(&past))
                    .map(|at| at.saturating_add(millis(executor.verify.echo))),
            }
        }
        // The cooldown assumes a recent operation in this case.
        Err(error) => {
            tracing::error!(%error, "cannot read past operations");
            TargetFacts::default()
        }
    }
}

/// Returns the name of the client that put back the last operation of the same kind.
fn reverted_by(operation: &Operation, past: &[&PastOperation]) -> Option<String> {
    let mut alike = past.iter().rev().map(|past| &past.operation);
    alike
        .find(|past| past.kind == operation.kind() && past.outcome.is_some())?
        .reverted_by
        .clone()
}

/// Returns true if all that is wrong may be an echo.
fn is_echo(incident: &Incident) -> bool {
    incident.active().next().is_some() && incident.active().all(can_echo)
}

/// Returns the time at which pods were last replaced, or may have been.
fn replaced_at(past: &[&PastOperation]) -> Option<UnixMs> {
    let replaced = past.iter().map(|past| &past.operation).filter(|past| {
        let outcome = past.outcome.as_ref().map(|outcome| outcome.kind);
        past.operation.replaces_pods()
            && matches!(
                outcome,
                None | Some(OutcomeKind::Done | OutcomeKind::InDoubt)
            )
    });
    replaced
        .map(|past| past.done_at.unwrap_or(past.asked_at))
        .max()
}
