//! Past operations: facts for the cooldown and the budgets, and the clock that measures both.

use std::time::Duration;

use super::Executor;
use anomalyzer_domain::{
    Decision, Operation, OperationRecord, OutcomeKind, Target, UnixMs, millis,
};
use anomalyzer_policy::{ClockSkew, Effect, HOUR, PastOperation, Spent};

/// Returns the operations of other decisions on a target within the last `length`, each with its
/// time by the present clock.
pub(super) async fn past_operations(
    executor: &Executor,
    decision: &Decision,
    target: &Target,
    length: Duration,
    now: UnixMs,
) -> Vec<PastOperation> {
    let skew = clock_skew(executor, now);
    let recent = skew.recent(millis(length));
    let since = recent.iter().map(|(from, _)| *from).min().unwrap_or(now);
    match executor.history.operations_since(Some(target), since).await {
        Ok(past) => past
            .into_iter()
            .filter(|past| past.decision != decision.id)
            .filter_map(|past| {
                let age = skew.age(past.operation.asked_at)?;
                Some(PastOperation {
                    target: target.clone(),
                    solution: past.solution.clone(),
                    kind: past.operation.kind.clone(),
                    replicas: Effect::stated(&past.operation.operation).replicas,
                    notice: match &past.operation.operation {
                        Operation::Notify(notify) => Some(notify.title.clone()),
                        _ => None,
                    },
                    asked_at: now.saturating_sub(age),
                    took_effect: may_have_taken_effect(&past.operation),
                })
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
                asked_at: now,
                took_effect: true,
            }]
        }
    }
}

/// Counts the changes of the last hour that count towards the budgets of a target. If the history
/// cannot be read, the budgets count as used up.
pub(super) async fn spent(executor: &Executor, target: &Target) -> Spent {
    let mut sum = [0_u32; 3];
    for (from, to) in clock_skew(executor, (executor.clock)()).recent(millis(HOUR)) {
        let changes = executor.history.changes_between(target, from, to).await;
        let changes = changes.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot count past operations; assuming that the budgets are used up");
            [u32::MAX; 3]
        });
        for (sum, changes) in sum.iter_mut().zip(changes) {
            *sum = sum.saturating_add(changes);
        }
    }
    let [on_target, in_namespace, in_cluster] = sum;
    Spent {
        on_target,
        in_namespace,
        in_cluster,
    }
}

/// Returns the true ages of recorded times at `now`.
fn clock_skew(executor: &Executor, now: UnixMs) -> ClockSkew {
    let mut skew = executor.in_flight.clock_skew.lock();
    if let Some(jump_ms) = skew.observe(now, (executor.monotonic)()) {
        tracing::warn!(
            jump_ms,
            "wall clock jumped: counting past operations by their true age"
        );
    }
    skew.clone()
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
