//! State of a target after an operation: present, deleted, or put back by someone else.

use std::collections::BTreeMap;

use super::Executor;
use super::effects::is_change;
use anomalyzer_domain::{Decision, Operation, OperationRecord, Snapshot, Target};
use anomalyzer_operator::{OperatorError, merge_patch};

/// Returns true if the operator knows that the target does not exist. A target that cannot be
/// inspected may exist.
pub(super) async fn is_gone(executor: &Executor, target: &Target) -> bool {
    matches!(
        look(executor, target).await,
        Some(Err(OperatorError::NotFound(_)))
    )
}

async fn look(executor: &Executor, target: &Target) -> Option<Result<Snapshot, OperatorError>> {
    let inspected = executor.dispatcher.inspect(target);
    let timeout = executor.config.operation_timeout;
    tokio::time::timeout(timeout, inspected).await.ok()
}

/// Looks for the effect of the last change of each target. Returns the reason if it cannot be
/// judged, because the target was deleted, or someone else put it back. The record of the operation
/// names who did.
pub(super) async fn lost_effect(executor: &Executor, decision: &mut Decision) -> Option<String> {
    let mut last = BTreeMap::new();
    let changes = decision.operations.iter_mut().filter(|it| is_change(it));
    for record in changes {
        if let Some(target) = record.operation.target().cloned() {
            last.insert(target, record);
        }
    }
    for (target, record) in last {
        match look(executor, &target).await {
            Some(Ok(snapshot)) => {
                if let Some(by) = reverted_by(record, &snapshot) {
                    let reason = format!(
                        "{by} put the {} of {target} back: change the target where {by} takes it from",
                        record.kind
                    );
                    record.reverted_by = Some(by);
                    return Some(reason);
                }
            }
            Some(Err(OperatorError::NotFound(_))) => {
                return Some(format!("{target} was deleted after the {}", record.kind));
            }
            Some(Err(_)) | None => {}
        }
    }
    None
}

/// Returns the name of the client that put the operation back, if one did: the target has another
/// version, and it no longer holds the change. A later operation of ours is no reversal.
fn reverted_by(record: &OperationRecord, now: &Snapshot) -> Option<String> {
    let by = now.changed_by.clone()?;
    let mark = now.last_operation.as_deref();
    let later_ours = mark.is_some_and(|mark| mark != record.id.as_str());
    if later_ours
        || record
            .version
            .as_ref()
            .is_none_or(|version| *version == now.version)
    {
        return None;
    }
    let holds = match &record.operation {
        Operation::Scale { replicas, .. } => {
            now.replicas.is_none_or(|now| now.desired == *replicas)
        }
        _ => {
            let change = record.after.as_ref();
            change.is_none_or(|change| merge_patch::holds(&now.raw, change))
        }
    };
    (!holds).then_some(by)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::rig::{interrupted, proposal, web};
    use anomalyzer_domain::Replicas;

    fn record(operation: Operation, after: serde_json::Value) -> OperationRecord {
        let incident = crate::tests::rig::incident(&["memory"]);
        let decision = Decision::proposed(&proposal(&incident, "restart_service", 0));
        let mut record = interrupted(&decision, operation);
        (record.after, record.version) = (Some(after), Some("uid/2".into()));
        record
    }

    #[test]
    fn a_change_that_is_gone_names_who_put_it_back() {
        let restart =
            json!({"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}});
        let restarted = || record(Operation::Restart { target: web() }, restart.clone());
        let scale = Operation::Scale {
            target: web(),
            replicas: 3,
        };
        let scaled = || record(scale.clone(), json!({"spec": {"replicas": 3}}));
        let (own, other) = (restarted().id.to_string(), "op-9".to_owned());
        let stripped = json!({"spec": {"template": {"metadata": {}}}});
        for (record, version, mark, replicas, raw, reverted) in [
            // Argo CD strips our mark and the annotation of the restart.
            (restarted(), "uid/3", None, 3, &stripped, true),
            // The mark stays, and the change is put back.
            (restarted(), "uid/3", Some(&own), 3, &stripped, true),
            (scaled(), "uid/3", None, 2, &stripped, true),
            // Nobody changed the target, or what was changed is something else.
            (restarted(), "uid/2", Some(&own), 3, &stripped, false),
            (restarted(), "uid/3", None, 3, &restart, false),
            (scaled(), "uid/3", None, 3, &stripped, false),
            // A later operation of ours.
            (scaled(), "uid/4", Some(&other), 2, &stripped, false),
        ] {
            let mut now = Snapshot::plain(
                web(),
                0,
                Some(Replicas {
                    desired: replicas,
                    ready: replicas,
                }),
            );
            (now.version, now.raw) = (version.into(), raw.clone());
            now.last_operation = mark.cloned();
            assert_eq!(reverted_by(&record, &now), None, "nobody is known");
            now.changed_by = Some("argocd-controller".into());
            let by = reverted_by(&record, &now);
            assert_eq!(by.is_some(), reverted, "{record:?} {now:?}");
        }
    }
}
