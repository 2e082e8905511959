//! One operation: grants, guard, record of the intent, attempt, record of the outcome.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Executor;
use super::attempt::{attempt, record_outcome};
use super::decision_run::{DecisionRun, RunError};
use super::evidence::gather;
use super::guard_input::{facts, inspect, judge};
use super::in_flight::{BudgetLock, TargetLock};
use super::past_operations::spent;
use super::question::ask;
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_domain::{
    Decision, GuardVerdict, Operation, OperationId, OperationRecord, Outcome, OutcomeKind,
    Snapshot, Target, Verdict,
};
use anomalyzer_history::{DecisionEventKind, Input};
use anomalyzer_plugin_host::ActionOutcome;
use anomalyzer_policy::grants::{in_force, permit};

/// The action that asks for an operation, and the deadline of its run.
pub(super) struct OperationContext<'a> {
    /// Name of the action.
    pub plugin: &'a str,
    /// Operations and scopes that the action declares to need.
    pub needs: &'a [(String, String)],
    /// Deadline of the action's run.
    pub deadline: Instant,
    /// Operation that this one takes back. The host itself takes operations back, so that this
    /// needs no grant: an operation that was granted may also be reverted.
    pub undoes: Option<OperationId>,
}

/// Result of one operation.
pub(super) enum OperationResult {
    /// The operation was attempted. Its outcome is on record.
    Attempted {
        /// Outcome as the action gets it.
        outcome: ActionOutcome,
        /// Record of the operation.
        record: Box<OperationRecord>,
    },
    /// The operation was denied, or only foreseen. The refusal is on record.
    Refused {
        outcome: ActionOutcome,
        verdict: GuardVerdict,
    },
    /// A person must approve the operation. `decision.question` asks; nothing is on record yet.
    Held {
        verdict: GuardVerdict,
        input: Option<Input>,
    },
}

/// Verdict on an operation, and the facts behind it.
struct Judged<'lock> {
    verdict: GuardVerdict,
    /// Input of the guard, for the record. `None` if the grants decided.
    input: Option<Input>,
    snapshot: Option<Snapshot>,
    /// Keeps the counted budgets valid until the intent is on record.
    budget_lock: Option<BudgetLock<'lock>>,
}

/// Performs one operation, if grants and guard allow it. `step` makes the operation's id unique
/// within the decision.
///
/// Two locks are taken, in this order; [`TargetLock::lock_budget`] makes another order impossible:
/// 1. The target's lock, from before the guard until the outcome is on record. The next decision on
///    this target is then judged by what this one did.
/// 2. The budget lock, from counting the budgets until the intent is on record. No other decision
///    counts the budgets meanwhile.
#[tracing::instrument(
    name = "operation", skip_all,
    fields(operation.id = tracing::field::Empty, operation.kind = operation.kind())
)]
pub(super) async fn perform(
    run: &DecisionRun,
    decision: &mut Decision,
    context: &OperationContext<'_>,
    operation: Operation,
    step: &str,
) -> Result<OperationResult, RunError> {
    let id = OperationId::derive(&[decision.id.as_str(), step]);
    tracing::Span::current().record("operation.id", tracing::field::display(&id));
    let target_lock = lock_target(run, decision, &operation).await?;
    let judged = judge_operation(run, decision, context, &operation, target_lock.as_ref()).await?;
    let refusal = match judged.verdict.verdict {
        Verdict::Allow => None,
        Verdict::Shadow => Some(OutcomeKind::Foreseen),
        Verdict::Deny => Some(OutcomeKind::Denied),
        Verdict::Hold => {
            ask(&run.executor, decision, operation, judged.snapshot.as_ref());
            return Ok(OperationResult::Held {
                verdict: judged.verdict,
                input: judged.input,
            });
        }
    };
    let record = OperationRecord {
        id,
        kind: operation.kind().to_owned(),
        target: operation.target().cloned(),
        operation,
        asked_at: (run.executor.clock)(),
        done_at: None,
        guard: Some(judged.verdict.clone()),
        outcome: None,
        before: None,
        after: None,
        version: None,
        undoes: context.undoes.clone(),
        reverted_by: None,
    };
    match refusal {
        Some(kind) => refuse(run, decision, record, judged, kind).await,
        None => execute(run, decision, record, judged, context.deadline).await,
    }
}

/// Waits for the lock of the target that an operation changes. Reads need none.
pub(super) async fn lock_target(
    run: &DecisionRun,
    decision: &Decision,
    operation: &Operation,
) -> Result<Option<TargetLock>, RunError> {
    let touched = touched(decision, operation).filter(|_| !operation.is_read());
    Ok(match touched {
        Some(target) => Some(run.wait(run.executor.in_flight.lock_target(target)).await?),
        None => None,
    })
}

/// Returns the operation's target, or else the decision's.
fn touched<'a>(decision: &'a Decision, operation: &'a Operation) -> Option<&'a Target> {
    operation.target().or(decision.target.as_ref())
}

/// Asks the grants, then the guard. The guard is asked at the moment of acting, with a fresh
/// snapshot of the target.
async fn judge_operation<'lock>(
    run: &DecisionRun,
    decision: &Decision,
    context: &OperationContext<'_>,
    operation: &Operation,
    target_lock: Option<&'lock TargetLock>,
) -> Result<Judged<'lock>, RunError> {
    let executor = &*run.executor;
    if let Err(reason) = granted(executor, decision, context, operation) {
        let verdict = GuardVerdict {
            verdict: Verdict::Deny,
            rule: "grants".into(),
            reason,
        };
        return Ok(Judged {
            verdict,
            input: None,
            snapshot: None,
            budget_lock: None,
        });
    }
    let (snapshot, unseen) = match inspect(executor, touched(decision, operation)).await {
        Some(Ok(snapshot)) => (Some(snapshot), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let mut facts = facts(executor, decision, Some(operation), snapshot.as_ref()).await;
    facts.target_facts.unseen = unseen;
    // Only an operation with a target of its own spends from budgets.
    let budget_lock = match (target_lock, operation.target()) {
        (Some(lock), Some(target)) => {
            let budget_lock = run.wait(lock.lock_budget()).await?;
            facts.spent = spent(executor, target).await;
            Some(budget_lock)
        }
        _ => None,
    };
    if context.undoes.is_some() {
        facts.take_back();
    }
    let (verdict, input) = judge(executor, facts);
    Ok(Judged {
        verdict,
        input: Some(input),
        snapshot,
        budget_lock,
    })
}

/// Returns an error that names the missing declaration or grant.
fn granted(
    executor: &Executor,
    decision: &Decision,
    context: &OperationContext<'_>,
    operation: &Operation,
) -> Result<(), String> {
    if context.undoes.is_some() {
        return Ok(());
    }
    let set_at_run_time = executor
        .plugins
        .standing(context.plugin)
        .and_then(|(_, grants, _)| grants);
    let grants = in_force(context.plugin, set_at_run_time, &executor.grants);
    let about = decision.target.as_ref();
    permit(context.plugin, context.needs, &grants, operation, about)
}

/// Records an operation that is not performed.
async fn refuse(
    run: &DecisionRun,
    decision: &mut Decision,
    mut record: OperationRecord,
    judged: Judged<'_>,
    kind: OutcomeKind,
) -> Result<OperationResult, RunError> {
    let verdict = judged.verdict;
    let (detail, outcome) = if kind == OutcomeKind::Foreseen {
        let foreseen = foreseen(&record.operation, judged.snapshot.as_ref());
        (foreseen.clone(), ActionOutcome::Done(foreseen))
    } else {
        let reason = verdict.reason.clone();
        (Value::String(reason.clone()), ActionOutcome::Denied(reason))
    };
    record.done_at = Some((run.executor.clock)());
    record.outcome = Some(Outcome { kind, detail });
    decision.operations.push(record);
    run.executor
        .record(DecisionEventKind::OperationEnded, decision, judged.input)
        .await?;
    Ok(OperationResult::Refused { outcome, verdict })
}

/// Performs an allowed operation between the record of its intent and the record of its outcome.
async fn execute(
    run: &DecisionRun,
    decision: &mut Decision,
    mut record: OperationRecord,
    judged: Judged<'_>,
    deadline: Instant,
) -> Result<OperationResult, RunError> {
    let executor = &*run.executor;
    let snapshot = judged.snapshot;
    decision.operations.push(record.clone());
    // The operation is performed only after its intent is on record.
    executor
        .record(DecisionEventKind::OperationAsked, decision, judged.input)
        .await?;
    drop(judged.budget_lock);
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = executor.config.operation_timeout.min(left);
    fail_point("before", record.operation.kind());
    let result = attempt(executor, decision, &record, snapshot.as_ref(), timeout).await;
    fail_point("after", record.operation.kind());
    record.done_at = Some((executor.clock)());
    let outcome = record_outcome(&mut record, result);
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    tracing::info!(outcome = ?kind, "operation ended");
    gather(decision, &record.operation, &outcome);
    if let Some(intent) = decision.operations.last_mut() {
        intent.clone_from(&record);
    }
    run.record_with_retry(DecisionEventKind::OperationEnded, decision)
        .await?;
    Ok(OperationResult::Attempted {
        outcome,
        record: Box::new(record),
    })
}

/// Returns the expected result of an operation that the mode only records.
fn foreseen(operation: &Operation, snapshot: Option<&Snapshot>) -> Value {
    let before = snapshot
        .and_then(|snapshot| snapshot.replicas)
        .map(|replicas| json!({ "replicas": replicas.desired }));
    match operation {
        Operation::Scale { replicas, .. } => {
            json!({ "before": before, "after": { "replicas": replicas }, "foreseen": true })
        }
        _ => json!({ "before": null, "after": null, "foreseen": true }),
    }
}
