//! Wait of a held decision for a person's answer.

use std::time::Duration;

use tokio::time::Instant;

use super::decision_run::{DecisionRun, RunError};
use super::undo::is_rolling_back;
use super::{Executor, aftermath, provenance};
use anomalyzer_domain::{Decision, DecisionId, rfc3339};

/// Interval at which a held decision checks the time and its incident.
const HELD_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest time between two checks that the target of a held decision exists.
const MIN_TARGET_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time between two checks that the target of a held decision exists.
const MAX_TARGET_CHECK_INTERVAL: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(30)
};

/// Name of the rule on the record of a question whose target was deleted.
pub(super) const TARGET_GONE: &str = "target_gone";

/// End of a wait.
pub(super) enum Waited {
    /// The question is answered. The decision is as on record: without a question.
    Answered(Box<Decision>),
    /// Nobody answered, and the question no longer counts. The lapse is not on record yet.
    Lapsed {
        /// Name of the rule that the record shows.
        rule: &'static str,
        reason: String,
    },
}

/// Waits until a held decision is answered, its question expires, or its incident clears.
pub(super) async fn wait_for_answer(
    run: &DecisionRun,
    id: &DecisionId,
) -> Result<Waited, RunError> {
    let executor = &*run.executor;
    let began = (executor.clock)();
    let mut target_check = None;
    loop {
        // Register for the notification before reading the record, so that no answer is missed.
        let mut answered = std::pin::pin!(executor.in_flight.answered.notified());
        answered.as_mut().enable();
        let decision = run.load(id).await?;
        let Some(question) = &decision.question else {
            return Ok(Waited::Answered(Box::new(decision)));
        };
        // The clock may have been ahead when the question was asked. Then it lapses after the time
        // that it was given, counted from now.
        let given = question.expires_at.saturating_sub(question.asked_at);
        let expires_at = question.expires_at.min(began.saturating_add(given));
        let left = expires_at - (executor.clock)();
        let check_interval = target_check_interval(given);
        let check_at = *target_check.get_or_insert_with(|| Instant::now() + check_interval);
        if left < 0 {
            return Ok(Waited::Lapsed {
                rule: "answer",
                reason: format!("nobody approved it until {}", rfc3339(expires_at)),
            });
        }
        if !is_still_needed(executor, &decision).await {
            return Ok(Waited::Lapsed {
                rule: "incident_cleared",
                reason: "the incident has cleared by itself, before anybody approved it".to_owned(),
            });
        }
        if check_at <= Instant::now() {
            if let Some(target) = question.operation.target()
                && aftermath::is_gone(executor, target).await
            {
                return Ok(Waited::Lapsed {
                    rule: TARGET_GONE,
                    reason: format!("{target} was deleted before anybody approved it"),
                });
            }
            target_check = None;
        }
        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default().saturating_add(1));
        tokio::select! {
            () = answered => {}
            () = tokio::time::sleep(left.min(HELD_CHECK_INTERVAL.min(check_interval))) => {}
            () = run.stop.cancelled() => return Err(RunError::Cancelled),
        }
    }
}

/// Returns the time between two checks of a target whose question may be answered for `given`
/// milliseconds.
fn target_check_interval(given: i64) -> Duration {
    let given = Duration::from_millis(u64::try_from(given).unwrap_or_default());
    (given / 60).clamp(MIN_TARGET_CHECK_INTERVAL, MAX_TARGET_CHECK_INTERVAL)
}

/// Returns false if the decision's incident is over. Taking operations back needs no incident.
async fn is_still_needed(executor: &Executor, decision: &Decision) -> bool {
    match &decision.incident {
        _ if is_rolling_back(decision) => true,
        Some(id) => provenance::incident(executor, id)
            .await
            .is_none_or(|incident| incident.is_open()),
        None => true,
    }
}
