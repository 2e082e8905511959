//! Attempt of an operation: the call of the operator, and the outcome that comes of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Executor;
use super::guard_input::inspect;
use anomalyzer_domain::{
    Decision, Notice, Operation, OperationRecord, Outcome, OutcomeKind, Snapshot, Target, UnixMs,
};
use anomalyzer_egress::notify::{About, Alarm, AlarmRoute, SendNotice};
use anomalyzer_operator::{OperatorError, Performed};
use anomalyzer_plugin_host::ActionOutcome;

/// Performs an operation within `timeout`. If the outcome is in doubt, the mark on the target
/// decides.
pub(super) async fn attempt(
    executor: &Executor,
    decision: &Decision,
    record: &OperationRecord,
    snapshot: Option<&Snapshot>,
    timeout: Duration,
) -> Result<Performed, OperatorError> {
    let about = about(decision, record, (executor.clock)());
    let performed = async {
        match (&record.operation, &about.incident, &about.target) {
            (Operation::Notify(notice), Some(_), Some(target)) => {
                raise(executor, notice, &about, target).await
            }
            (operation, ..) => {
                let dispatcher = &executor.dispatcher;
                dispatcher
                    .perform(&record.id, operation, snapshot, &about)
                    .await
            }
        }
    };
    let result = tokio::time::timeout(timeout, performed)
        .await
        .unwrap_or_else(|_| {
            Err(OperatorError::InDoubt(format!(
                "no answer within {timeout:?}"
            )))
        });
    match result {
        Err(OperatorError::InDoubt(_)) if carries_mark(executor, record).await => {
            Ok(performed_by_mark())
        }
        result => result,
    }
}

/// Tells people of an incident, by itself or with the other alarms of a storm.
async fn raise(
    executor: &Executor,
    notice: &Notice,
    about: &About,
    target: &Target,
) -> Result<Performed, OperatorError> {
    let dispatcher = executor.dispatcher.clone();
    let send: SendNotice = Arc::new(move |notice, about| {
        let dispatcher = dispatcher.clone();
        Box::pin(async move { dispatcher.notify(&notice, &about).await })
    });
    let alarm = Alarm {
        notice: notice.clone(),
        about: about.clone(),
        target: target.clone(),
        open_incidents: executor.incidents.count(),
        storm_above: executor.policy.storm_above as usize,
    };
    let notifier = Arc::clone(&executor.dispatcher.notifier);
    let route = AlarmRoute {
        send,
        join: Arc::new(move |storm, incident| notifier.join_storm(storm, incident)),
    };
    executor.in_flight.alarm_storms.tell(alarm, route).await
}

/// Returns the context of an operation that is a notice, requested at `at`.
pub(super) fn about(decision: &Decision, record: &OperationRecord, at: UnixMs) -> About {
    About {
        operation: record.id.clone(),
        incident: decision.incident.clone(),
        target: decision.target.clone(),
        severity: severity(decision),
        at,
        until: None,
        storm: None,
    }
}

/// Returns true if the operation's target carries the operation's mark. Returns false if the
/// operation has no target, or the target cannot be inspected.
pub(super) async fn carries_mark(executor: &Executor, record: &OperationRecord) -> bool {
    let operation = &record.operation;
    let target = operation.target().filter(|_| !operation.is_read());
    let snapshot = inspect(executor, target).await.and_then(Result::ok);
    let mark = snapshot.and_then(|snapshot| snapshot.last_operation);
    mark.as_deref() == Some(record.id.as_str())
}

/// Returns the result of an operation of which only the mark on the target is known.
pub(super) fn performed_by_mark() -> Performed {
    Performed {
        result: Value::String("the target carries its mark".into()),
        before: None,
        after: None,
        version: None,
    }
}

/// Writes the result into the record. Returns the outcome as the action gets it.
pub(super) fn record_outcome(
    record: &mut OperationRecord,
    result: Result<Performed, OperatorError>,
) -> ActionOutcome {
    let (kind, detail, outcome) = match result {
        Ok(performed) => {
            record.before = performed.before;
            record.after = performed.after;
            record.version = performed.version;
            let detail = performed.result;
            (
                OutcomeKind::Done,
                detail.clone(),
                ActionOutcome::Done(detail),
            )
        }
        Err(error) => {
            let text = error.to_string();
            let detail = Value::String(text.clone());
            match error {
                OperatorError::InDoubt(_) => {
                    (OutcomeKind::InDoubt, detail, ActionOutcome::InDoubt(text))
                }
                _ => (OutcomeKind::Failed, detail, ActionOutcome::Failed(text)),
            }
        }
    };
    record.outcome = Some(Outcome { kind, detail });
    outcome
}

/// Returns the severity for people who sort alarms. A value far outside of its range is critical,
/// and so is an unknown one.
fn severity(decision: &Decision) -> String {
    let severe = decision
        .anomaly
        .as_ref()
        .is_none_or(|anomaly| anomaly.severity >= 3.0 || anomaly.observed.is_none());
    if severe { "critical" } else { "warning" }.to_owned()
}
