//! Scaling back: replicas that were added for an incident are taken back some time after its end.

use super::decision_run::{DecisionRun, RunError};
use super::guard_input::{facts, inspect};
use super::inverse::{inverse, takes_capacity};
use super::past_operations::spent;
use super::rollback::{VERSION_LOOKBACK_MS, is_as_left};
use super::{Executor, life, provenance};
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, GuardVerdict, OperationRecord, OutcomeKind, Target,
    UndoState, Verdict, millis,
};
use anomalyzer_policy::Effect;

/// Takes back added replicas wherever this is due and the guard allows it now; a later call tries
/// the others again. Returns the decisions that a person is asked about.
pub(super) async fn scale_back_once(run: &DecisionRun) -> Result<Vec<DecisionId>, RunError> {
    let executor = &*run.executor;
    let mut held = Vec::new();
    let since = (executor.clock)() - VERSION_LOOKBACK_MS;
    for mut decision in executor.history.scaled_since(since).await? {
        let Some(record) = added_replicas(&decision) else {
            continue;
        };
        let Some(target) = record.operation.target().cloned() else {
            continue;
        };
        if !is_due(executor, &decision, &target).await {
            continue;
        }
        let Some(_entry) = executor.in_flight.begin(&decision.id) else {
            continue;
        };
        if is_allowed(executor, &decision, &record).await {
            life::scale_back(run, &mut decision).await?;
            if decision.state() == DecisionState::Held {
                held.push(decision.id);
            }
        }
    }
    Ok(held)
}

/// Returns true if the incident has been over for long enough, and the target has no other
/// incident.
async fn is_due(executor: &Executor, decision: &Decision, target: &Target) -> bool {
    let Some(id) = &decision.incident else {
        return false;
    };
    let incident = provenance::incident(executor, id).await;
    let Some(cleared) = incident.and_then(|incident| incident.cleared_at) else {
        return false;
    };
    let wait = millis(executor.verify.scale_back_after);
    let now = (executor.clock)();
    // A time in the future was recorded while the clock was ahead: the incident is over by now.
    (cleared > now || now >= cleared.saturating_add(wait))
        && executor
            .incidents
            .open()
            .iter()
            .all(|incident| incident.target != *target)
}

/// Asks the guard without a record, because most of its refusals are temporary.
async fn is_allowed(executor: &Executor, decision: &Decision, record: &OperationRecord) -> bool {
    let Ok(operation) = inverse(record) else {
        return false;
    };
    let Some(Ok(snapshot)) = inspect(executor, operation.target()).await else {
        return false;
    };
    if !is_as_left(executor, record, &snapshot)
        .await
        .unwrap_or(false)
    {
        return false;
    }
    let mut facts = facts(executor, decision, Some(&operation), Some(&snapshot)).await;
    facts.take_back();
    if let Some(target) = operation.target() {
        facts.spent = spent(executor, target).await;
    }
    let GuardVerdict {
        verdict,
        rule,
        reason,
    } = anomalyzer_policy::judge(&facts, &executor.policy);
    // A storm passes, and afterwards no person needs to be asked.
    let allowed = verdict == Verdict::Allow || verdict == Verdict::Hold && rule != "storm";
    if !allowed {
        tracing::debug!(decision.id = %decision.id, rule, reason, "not scaled back yet");
    }
    allowed
}

/// Returns the decision's last scaling up, unless it was taken back or left in place.
fn added_replicas(decision: &Decision) -> Option<OperationRecord> {
    if decision
        .undo
        .as_ref()
        .is_some_and(|undo| undo.state != UndoState::Later)
    {
        return None;
    }
    let done = |record: &&OperationRecord| {
        Effect::stated(&record.operation).replicas.is_some()
            && record
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
    };
    let last = decision.operations.iter().rfind(done)?;
    inverse(last)
        .is_ok_and(|inverse| takes_capacity(last, &inverse))
        .then(|| last.clone())
}
