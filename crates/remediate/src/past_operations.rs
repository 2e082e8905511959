//! Past operations: facts for the cooldown and the budgets, and the clock that measures both.

use super::Executor;
use anomalyzer_domain::{
    Decision, Operation, OperationRecord, OutcomeKind, Target, UnixMs, millis,
};
use anomalyzer_policy::{Effect, HOUR, PastOperation, Spent};

/// Returns the operations of other decisions on a target since a time.
pub(super) async fn past_operations(
    executor: &Executor,
    decision: &Decision,
    target: &Target,
    since: UnixMs,
) -> Vec<PastOperation> {
    match executor.history.operations_since(Some(target), since).await {
        Ok(past) => past
            .into_iter()
            .filter(|past| past.decision != decision.id)
            .map(|past| PastOperation {
                target: target.clone(),
                solution: past.solution.clone(),
                kind: past.operation.kind.clone(),
                replicas: Effect::of(&past.operation.operation, None, false).replicas,
                notice: match &past.operation.operation {
                    Operation::Notify(notify) => Some(notify.title.clone()),
                    _ => None,
                },
                asked_at: past.operation.asked_at,
                took_effect: may_have_taken_effect(&past.operation),
            })
            .collect(),
        Err(error) => {
            // An unknown past must not look like an empty one.
            tracing::error!(%error, "cannot read past operations; assuming one just now");
            vec![PastOperation {
                target: target.clone(),
                solution: decision.solution.clone(),
                kind: "unknown".into(),
                replicas: None,
                notice: None,
                asked_at: (executor.clock)(),
                took_effect: true,
            }]
        }
    }
}

/// Counts the changes of the last hour that count towards the budgets of a target. If the history
/// cannot be read, the budgets count as used up.
pub(super) async fn spent(executor: &Executor, target: &Target) -> Spent {
    let since = (executor.clock)()
        .saturating_sub(millis(HOUR))
        .saturating_sub(clock_skew(executor));
    let changes = executor.history.changes_since(target, since).await;
    let [on_target, in_namespace, in_cluster] = changes.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot count past operations; assuming that the budgets are used up");
        [u32::MAX; 3]
    });
    Spent {
        on_target,
        in_namespace,
        in_cluster,
    }
}

/// Returns how far the wall clock jumped ahead within the last hour, in milliseconds.
pub(super) fn clock_skew(executor: &Executor) -> i64 {
    let mut clock_skew = executor.in_flight.clock_skew.lock();
    clock_skew.observe((executor.clock)(), (executor.monotonic)())
}

/// Returns true unless the operation certainly changed nothing. A notice in doubt counts as not
/// sent, because telling people twice is better than never.
fn may_have_taken_effect(record: &OperationRecord) -> bool {
    let notice = matches!(record.operation, Operation::Notify(_));
    let effect = record
        .outcome
        .as_ref()
        .is_none_or(|outcome| match outcome.kind {
            OutcomeKind::Done => true,
            OutcomeKind::InDoubt => !notice,
            OutcomeKind::Foreseen | OutcomeKind::Denied | OutcomeKind::Failed => false,
        });
    effect && !record.operation.is_read()
}
