//! Rollback: takes back the operations of a decision, the last one first.
//!
//! Each inverse is an operation of the same decision, guarded and recorded like any other. An
//! operation is taken back only if its target still has the version that this operation, or a later
//! one of ours, produced. Added replicas stay while the incident is open, so that no target under
//! load loses capacity: see `scale_back`.

use serde_json::Value;
use tokio::time::Instant;

use super::decision_run::{DecisionRun, RunError};
use super::effects::{is_change, is_done};
use super::guard_input::inspect;
use super::inverse::{inverse, takes_capacity};
use super::next::Next;
use super::operation::{OperationContext, OperationResult, perform};
use super::plugin_name::plugin_name;
use super::undo::{set_undo, state_after_rollback};
use super::{Executor, provenance};
use anomalyzer_domain::{
    Decision, GuardVerdict, Operation, OperationRecord, OutcomeKind, Snapshot, UndoState, duration,
};
use anomalyzer_history::{HistoryError, Input};

/// Age up to which operations count as the origin of a target's version, in milliseconds.
pub(super) const VERSION_LOOKBACK_MS: i64 = 24 * 3_600_000;

/// Result of taking one operation back.
enum RollbackStep {
    /// The step is finished, for this reason.
    Finished(UndoState, String),
    /// The guard demands a person's approval.
    NeedsApproval(GuardVerdict, Option<Input>),
}

fn left_in_place(why: String) -> RollbackStep {
    RollbackStep::Finished(UndoState::Kept, why)
}

/// Takes back every operation that is not taken back yet. Also continues a rollback after a crash
/// or an approval; an inverse whose outcome is in doubt is not tried again.
#[tracing::instrument(name = "rollback", skip_all)]
pub(super) async fn roll_back(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<Next, RunError> {
    let executor = &*run.executor;
    let under_load = match &decision.incident {
        Some(id) => provenance::incident(executor, id)
            .await
            .is_some_and(|incident| incident.is_open()),
        None => false,
    };
    let changes: Vec<OperationRecord> = decision
        .operations
        .iter()
        .filter(|record| is_change(record))
        .cloned()
        .collect();
    let mut last_step = None;
    for record in changes.iter().rev() {
        let tried = decision
            .operations
            .iter()
            .find(|tried| tried.undoes.as_ref() == Some(&record.id));
        let (state, reason) = match tried {
            Some(tried) => undo_state_of(tried),
            None => match take_back(run, decision, record, under_load).await? {
                RollbackStep::Finished(state, reason) => (state, reason),
                RollbackStep::NeedsApproval(verdict, input) => {
                    return Ok(Next::Hold(verdict, input));
                }
            },
        };
        last_step = Some((state, reason));
        // While this operation stays in effect, the target is not in the state that the earlier
        // operations left. They stay too.
        if state != UndoState::Undone {
            break;
        }
    }
    let (state, reason) = last_step.unwrap_or_else(|| {
        (
            UndoState::Kept,
            "nothing that it did can be taken back".to_owned(),
        )
    });
    tracing::info!(undo = ?state, reason, "rollback ended");
    set_undo(decision, state, (executor.clock)(), reason);
    Ok(Next::End(state_after_rollback(decision), None))
}

async fn take_back(
    run: &DecisionRun,
    decision: &mut Decision,
    record: &OperationRecord,
    under_load: bool,
) -> Result<RollbackStep, RunError> {
    let executor = &*run.executor;
    let operation = match inverse(record) {
        Ok(operation) => operation,
        Err(why) => return Ok(left_in_place(why)),
    };
    if under_load && takes_capacity(record, &operation) {
        let after = duration::format(executor.verify.scale_back_after);
        let why = format!(
            "it would take capacity from a target under load: it goes back {after} after the incident"
        );
        return Ok(RollbackStep::Finished(UndoState::Later, why));
    }
    let problem = match inspect(executor, operation.target()).await {
        None => Some("the target can't be looked at: it has no target".to_owned()),
        Some(Err(why)) => Some(format!("the target can't be looked at: {why}")),
        Some(Ok(snapshot)) => match is_as_left(executor, record, &snapshot).await {
            Ok(true) => None,
            Ok(false) => Some("the target was changed by someone else since".to_owned()),
            Err(error) => Some(format!(
                "who changed the target since can't be told: {error}"
            )),
        },
    };
    if let Some(problem) = problem {
        return Ok(left_in_place(problem));
    }
    let plugin = plugin_name(decision);
    let context = OperationContext {
        plugin: &plugin,
        needs: &[],
        deadline: Instant::now() + executor.config.action_timeout,
        undoes: Some(record.id.clone()),
    };
    let step = format!("undo {}", record.id);
    Ok(
        match perform(run, decision, &context, operation, &step).await? {
            OperationResult::Held { verdict, input } => RollbackStep::NeedsApproval(verdict, input),
            OperationResult::Refused { verdict, .. } => left_in_place(format!(
                "the guard says no (rule {}): {}",
                verdict.rule, verdict.reason
            )),
            OperationResult::Attempted { record, .. } => {
                let (state, reason) = undo_state_of(&record);
                RollbackStep::Finished(state, reason)
            }
        },
    )
}

/// Returns true if the target is as the operation, or later operations of ours, left it.
pub(super) async fn is_as_left(
    executor: &Executor,
    record: &OperationRecord,
    now: &Snapshot,
) -> Result<bool, HistoryError> {
    if record.version.as_ref() == Some(&now.version) {
        return Ok(true);
    }
    let Operation::Scale { target, replicas } = &record.operation else {
        return Ok(false);
    };
    if now.replicas.is_none_or(|now| now.desired != *replicas) {
        return Ok(false);
    }
    let now_ms = (executor.clock)();
    // The clock may have been ahead when the operation was recorded.
    let since = record
        .asked_at
        .min(now_ms)
        .max(now_ms - VERSION_LOOKBACK_MS);
    let later = executor
        .history
        .operations_since(Some(target), since)
        .await?;
    Ok(later
        .iter()
        .any(|it| is_done(&it.operation) && it.operation.version.as_ref() == Some(&now.version)))
}

/// Returns the state of a rollback from the record of the inverse operation.
fn undo_state_of(tried: &OperationRecord) -> (UndoState, String) {
    let outcome = tried.outcome.as_ref();
    match outcome.map(|outcome| outcome.kind) {
        Some(OutcomeKind::Done) => {
            let before = tried
                .after
                .as_ref()
                .map(Value::to_string)
                .unwrap_or_default();
            (
                UndoState::Undone,
                format!("put back by {}: {before}", tried.kind),
            )
        }
        kind => {
            let detail = outcome
                .map(|outcome| outcome.detail.to_string())
                .unwrap_or_default();
            let result = if kind == Some(OutcomeKind::Failed) {
                "it did not happen"
            } else {
                "it can't be told"
            };
            (
                UndoState::Failed,
                format!("{} was tried, and {result}: {detail}", tried.kind),
            )
        }
    }
}
