//! Question of a held decision: what a person is asked, and the notice that tells people.

use std::time::Duration;

use super::Executor;
use super::decision_run::{DecisionRun, RunError};
use super::undo::is_rolling_back;
use anomalyzer_domain::{
    Decision, GuardVerdict, Notice, Operation, OperationId, Question, Snapshot, millis, rfc3339,
};
use anomalyzer_egress::notify::About;

/// Time that the channels get to tell people of a question.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the decision ask a person to approve `operation` on a target in the state `touched`.
pub(super) fn ask(
    executor: &Executor,
    decision: &mut Decision,
    operation: Operation,
    touched: Option<&Snapshot>,
) {
    let asked_at = (executor.clock)();
    let within = millis(executor.policy.approve_within);
    let expires_at = asked_at.saturating_add(within);
    decision.question = Some(Question {
        id: Question::id_of(&decision.id, &operation, touched),
        operation,
        version: touched.map(|snapshot| snapshot.version.clone()),
        asked_at,
        expires_at,
    });
    // An approval in time also extends the decision's own expiry.
    decision.expires_at = decision.expires_at.max(expires_at);
}

/// Tells people of the question. A failure is only logged: the record counts, and people can look
/// at it.
pub(super) async fn tell_people(
    run: &DecisionRun,
    decision: &Decision,
    verdict: &GuardVerdict,
) -> Result<(), RunError> {
    let executor = &*run.executor;
    let Some(question) = &decision.question else {
        return Ok(());
    };
    tracing::warn!(question.id, "decision held: waiting for approval");
    let storm = verdict.rule == "storm";
    if storm && !is_first_of_storm(executor) {
        return Ok(());
    }
    let title = if storm {
        verdict.reason.clone()
    } else {
        let target = decision.target.as_ref().map(ToString::to_string);
        let target = target.unwrap_or_default();
        format!("{} of {target} waits for a yes", question.operation.kind())
    };
    let notice = Notice {
        channel: "default".to_owned(),
        title,
        text: text(decision, question),
    };
    let about = About {
        operation: notice_id(decision),
        incident: decision.incident.clone(),
        target: decision.target.clone(),
        severity: "warning".to_owned(),
        at: (executor.clock)(),
        until: Some(question.expires_at),
        storm: None,
    };
    let notified = executor.dispatcher.notifier.notify(&notice, &about);
    match run
        .wait(tokio::time::timeout(NOTIFY_TIMEOUT, notified))
        .await?
    {
        Ok(Ok(sent)) if sent.failed.is_empty() && sent.pending.is_empty() => {}
        Ok(Ok(sent)) => tracing::warn!(
            failed = ?sent.failed, pending = ?sent.pending, "some channels were not told yet"
        ),
        Ok(Err(error)) => tracing::warn!(%error, "all channels failed"),
        Err(_) => tracing::warn!("the channels took longer than {NOTIFY_TIMEOUT:?}"),
    }
    Ok(())
}

/// Returns the id of the notice that tells people of the decision's question.
pub(super) fn notice_id(decision: &Decision) -> OperationId {
    let question = decision.question.as_ref();
    let question = question.map_or("", |question| question.id.as_str());
    OperationId::derive(&[decision.id.as_str(), question])
}

fn text(decision: &Decision, question: &Question) -> String {
    let why = match &decision.undo {
        Some(undo) if is_rolling_back(decision) => {
            format!("{} is to be taken back: {}", decision.solution, undo.reason)
        }
        _ => decision.explanation.clone(),
    };
    format!(
        "{}\nWhy: {why}\nUntil {}: anomalyzer decisions approve {} (or reject)",
        serde_json::to_string(&question.operation).unwrap_or_default(),
        rfc3339(question.expires_at),
        decision.id
    )
}

/// Returns true once per storm, and again if the storm outlasts the time to approve. A storm is one
/// alarm, not one for each decision that it holds.
fn is_first_of_storm(executor: &Executor) -> bool {
    let now = (executor.clock)();
    let within = millis(executor.policy.approve_within);
    let mut last_notice = executor.in_flight.last_storm_notice.lock();
    // After a jump of the clock back, the last alarm lies in the future.
    let first = last_notice.is_none_or(|last| !(0..within).contains(&now.saturating_sub(last)));
    if first {
        *last_notice = Some(now);
    }
    first
}
