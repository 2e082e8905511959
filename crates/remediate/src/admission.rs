//! Admission of a solution: the guard judges the solution as a whole, before its action runs.

use super::decision_run::{DecisionRun, RunError};
use super::evidence::{add_evidence, add_query_answers, describe};
use super::guard_input::{facts, inspect, judge};
use anomalyzer_domain::{Decision, EvidenceKind, Snapshot, Verdict};
use anomalyzer_history::DecisionEventKind;

/// Verdict on a solution. It is on record.
pub(super) enum Admission {
    /// The guard refuses the solution, for this reason.
    Denied(String),
    /// The action may run. It is shown the snapshot that the guard was shown.
    Admitted(Option<Box<Snapshot>>),
}

/// Asks the guard about the solution, attaches the target's state as evidence, and records both.
pub(super) async fn admit(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<Admission, RunError> {
    let executor = &*run.executor;
    let inspected = inspect(executor, decision.target.as_ref()).await;
    let snapshot = inspected
        .as_ref()
        .and_then(|inspected| inspected.as_ref().ok());
    let (verdict, input) = judge(executor, facts(executor, decision, None, snapshot).await);
    decision.guard = Some(verdict.clone());
    let evidence = match &inspected {
        Some(Ok(snapshot)) => Some(describe(snapshot)),
        Some(Err(why)) => Some(format!("the target can't be looked at: {why}")),
        None => None,
    };
    if let Some(evidence) = evidence {
        add_evidence(decision, EvidenceKind::Snapshot, &evidence);
    }
    add_query_answers(executor, decision).await;
    executor
        .record(DecisionEventKind::Guarded, decision, Some(input))
        .await?;
    Ok(match verdict.verdict {
        Verdict::Deny => Admission::Denied(verdict.reason),
        // No rule holds a solution as a whole: a person is asked about an operation.
        Verdict::Allow | Verdict::Shadow | Verdict::Hold => {
            Admission::Admitted(inspected.and_then(Result::ok).map(Box::new))
        }
    })
}
