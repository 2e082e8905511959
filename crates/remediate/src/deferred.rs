//! Deferred decisions: solutions denied because of a silence, a maintenance window or a rollout are
//! retried when the obstacle is gone and the incident is still open.

use super::decision_run::{DecisionRun, RunError};
use super::follow_up::{ask_again, ask_for_alternative};
use super::guard_input::{facts, inspect};
use super::plugin_name::plugin_name;
use anomalyzer_domain::{
    Decision, DecisionState, IncidentEventKind, Operation, OutcomeKind, Provenance,
};
use anomalyzer_policy::TEMPORARY_RULES;

const ROLLOUT: &str = "rollout_in_progress";
/// Time to wait for a rollout, in milliseconds: Kubernetes calls a rollout stuck after it. Then
/// people are told.
const ROLLOUT_TIMEOUT_MS: i64 = 600_000;

/// State of the obstacle that deferred a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// The obstacle is still there.
    Still,
    /// The obstacle is gone.
    Cleared,
    /// The obstacle has lasted too long.
    TooLong,
}

/// Asks the analyst about each deferred decision whose obstacle is gone, once per decision.
pub(super) async fn retry_deferred_once(run: &DecisionRun) -> Result<(), RunError> {
    let executor = &*run.executor;
    let mut deferred = executor.history.last_of_open_incidents().await?;
    deferred.retain(is_deferred);
    executor.in_flight.retried.lock().retain(|id| {
        // Forget decisions that are no longer the last one of an open incident.
        deferred.iter().any(|decision| decision.id == *id)
    });
    for decision in deferred {
        let blocked = blocked(run, &decision).await;
        if blocked == Blocked::Still {
            continue;
        }
        let first = executor
            .in_flight
            .retried
            .lock()
            .insert(decision.id.clone());
        if !first {
            continue;
        }
        retry(run, &decision, blocked).await?;
    }
    Ok(())
}

#[tracing::instrument(
    skip_all,
    fields(
        decision.id = %decision.id,
        incident.id = decision.incident.as_ref().map(tracing::field::display),
        plugin = plugin_name(decision),
    )
)]
async fn retry(run: &DecisionRun, decision: &Decision, blocked: Blocked) -> Result<(), RunError> {
    tracing::info!(?blocked, "retrying deferred decision");
    if blocked == Blocked::Cleared {
        // Nothing was tried, so the analyst diagnoses the incident as if for the first time.
        ask_again(run, decision, IncidentEventKind::Confirmed, vec![]).await
    } else {
        ask_for_alternative(run, decision).await
    }
}

async fn blocked(run: &DecisionRun, decision: &Decision) -> Blocked {
    let executor = &*run.executor;
    let denied = decision.operations.iter().rfind(|record| {
        record
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.kind == OutcomeKind::Denied)
    });
    let operation = denied.map(|record| &record.operation);
    let rollout = rule_of(decision) == ROLLOUT;
    // Only a rollout shows at the target. For a silence the target is not inspected over and over.
    let inspected = operation.and_then(Operation::target).filter(|_| rollout);
    let snapshot = inspect(executor, inspected).await.and_then(Result::ok);
    let facts = facts(executor, decision, operation, snapshot.as_ref()).await;
    // Without a snapshot the rollout may still be in progress.
    let in_the_way =
        anomalyzer_policy::is_temporary(&facts, &executor.policy) || rollout && snapshot.is_none();
    if !in_the_way {
        Blocked::Cleared
    } else if rollout && !(0..=ROLLOUT_TIMEOUT_MS).contains(&(facts.now - decision.decided_at)) {
        Blocked::TooLong
    } else {
        Blocked::Still
    }
}

fn rule_of(decision: &Decision) -> &str {
    decision
        .guard
        .as_ref()
        .map_or("", |guard| guard.rule.as_str())
}

/// Returns true if our analyst proposed the solution and a temporary obstacle denied it.
fn is_deferred(decision: &Decision) -> bool {
    decision.state() == DecisionState::Denied
        && TEMPORARY_RULES.contains(&rule_of(decision))
        && decision.provenance.source == Provenance::ENGINE
}
