//! Recovery after a crash: settles the operations whose intent is on record and whose outcome is
//! not.
//!
//! An operation that changes a target is settled by its mark on the target, and never repeated.
//! Notices and requests leave no mark. They are sent again under the same operation id, so that a
//! receiver can recognise the repetition: delivery is at least once.

use super::attempt::{attempt, carries_mark, performed_by_mark, record_outcome};
use super::decision_run::{DecisionRun, RunError};
use super::effects::may_have_changed;
use super::guard_input::facts;
use super::next::Next;
use super::operation::lock_target;
use anomalyzer_domain::{
    Decision, DecisionState, Operation, OperationRecord, OutcomeKind, Verdict,
};
use anomalyzer_history::DecisionEventKind;
use anomalyzer_operator::{OperatorError, Performed};

const ENDED: &str = "the process ended in the middle";

/// Gives each operation without an outcome its outcome, and records it.
pub(super) async fn settle_operations(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<(), RunError> {
    for index in 0..decision.operations.len() {
        let Some(mut record) = decision
            .operations
            .get(index)
            .filter(|record| record.outcome.is_none())
            .cloned()
        else {
            continue;
        };
        run.check_cancelled()?;
        let _target_lock = lock_target(run, decision, &record.operation).await?;
        let result = settle(run, decision, &record).await;
        record_outcome(&mut record, result);
        record.done_at = Some((run.executor.clock)());
        if let Some(unsettled) = decision.operations.get_mut(index) {
            *unsettled = record;
        }
        run.record_with_retry(DecisionEventKind::OperationEnded, decision)
            .await?;
    }
    Ok(())
}

/// Returns the state that follows after all operations are settled. The action is not continued.
pub(super) fn after_interruption(decision: &Decision) -> Next {
    if may_have_changed(decision) {
        Next::Verify(Some(format!(
            "{ENDED}; what was in doubt is not repeated, its effect is looked for"
        )))
    } else if only_notified_people(decision) {
        Next::End(
            DecisionState::Done,
            Some(format!("{ENDED}; people were told")),
        )
    } else {
        Next::End(
            DecisionState::Failed,
            Some(format!("{ENDED}, and nothing was changed")),
        )
    }
}

async fn settle(
    run: &DecisionRun,
    decision: &Decision,
    record: &OperationRecord,
) -> Result<Performed, OperatorError> {
    let executor = &*run.executor;
    let operation = &record.operation;
    if operation.is_read() {
        return Err(OperatorError::Unavailable(format!(
            "{ENDED}, before the answer"
        )));
    }
    if !matches!(operation, Operation::Notify(_) | Operation::Http(_)) {
        return match carries_mark(executor, record).await {
            true => Ok(performed_by_mark()),
            false => Err(OperatorError::InDoubt(format!(
                "{ENDED}, and the target does not carry its mark"
            ))),
        };
    }
    let mut facts = facts(executor, decision, Some(operation), None).await;
    if record.asked_at <= decision.expires_at {
        // The operation was begun in time, so it may be finished.
        facts.expires_at = facts.expires_at.max(facts.now);
    }
    let verdict = anomalyzer_policy::judge(&facts, &executor.policy);
    if verdict.verdict != Verdict::Allow {
        return Err(OperatorError::InDoubt(format!(
            "{ENDED}, and it is not sent again: {}",
            verdict.reason
        )));
    }
    let timeout = executor.config.operation_timeout;
    attempt(executor, decision, record, None, timeout).await
}

/// Returns true if the only effects of the decision are notices, and all of them were sent.
fn only_notified_people(decision: &Decision) -> bool {
    let mut effects = decision
        .operations
        .iter()
        .filter(|record| !record.operation.is_read())
        .peekable();
    let is_delivered = |record: &OperationRecord| {
        matches!(record.operation, Operation::Notify(_))
            && record
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
    };
    effects.peek().is_some() && effects.all(is_delivered)
}
