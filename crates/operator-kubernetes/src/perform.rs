//! Performs one operation on one object. Reads the object, patches exactly the version that was
//! read, and reads the object again if no response comes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::Cluster;
use super::error::ApiError;
use super::object::{Kind, Object};
use super::owners::changed_by;
use super::plan::{can_roll, has_template, marked, not_deleted, plan};
use super::revision::{is_observed, previous_template};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Operation, OperationId, Snapshot, Target};
use anomalyzer_operator::{OperatorError, Performed, merge_patch};

/// Maximum number of attempts to patch while the status changes in between.
const ATTEMPTS: u32 = 8;
/// Wait after the first conflict. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Number of reads to find out if a patch without a response was applied.
const LOOKS: u32 = 3;
/// Wait between these reads.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Performs `operation` if the target is still in the state of `basis`. Returns early if the
/// target's mark shows that the operation was performed already.
pub async fn perform(
    cluster: &Cluster,
    kind: Kind,
    target: &Target,
    id: &OperationId,
    operation: &Operation,
    basis: &Snapshot,
) -> Result<Performed, OperatorError> {
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        let object = cluster
            .get(kind, target)
            .await
            .map_err(|error| error.of_read(target))?;
        if object.mark() == Some(id.as_str()) {
            return Ok(Performed {
                result: json!({"already": "done"}),
                before: None,
                after: None,
                version: None,
            });
        }
        check_basis(&object, target, basis)?;
        let change = change(cluster, &object, target, operation).await?;
        let done = |after: &Object| Performed {
            result: json!({"version": after.version(), "changed": change}),
            before: Some(merge_patch::inverse(&object.patchable(), &change)),
            after: Some(change.clone()),
            version: Some(after.version()),
        };
        match cluster
            .patch(kind, target, &marked(&change, id.as_str(), &object))
            .await
        {
            Ok(after) => return Ok(done(&after)),
            // Either the status or the spec changed. The next read tells which.
            Err(ApiError::Conflict(_)) => {
                sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
            Err(ApiError::Unknown(why)) => {
                return settle(cluster, target, id, &object, &why)
                    .await
                    .map(|after| done(&after));
            }
            Err(error) => return Err(error.of_read(target)),
        }
    }
    Err(OperatorError::Unavailable(format!(
        "{target} was written to by others {ATTEMPTS} times in a row: nothing was done"
    )))
}

fn check_basis(object: &Object, target: &Target, basis: &Snapshot) -> Result<(), OperatorError> {
    if basis.target != *target
        || object.version() != basis.version
        || object.mark() != basis.last_operation.as_deref()
    {
        return Err(OperatorError::Conflict(format!(
            "{target} changed since it was inspected: it is at {} after operation {}, inspected was {} of {} after operation {}",
            object.version(),
            object.mark().unwrap_or("none"),
            basis.version,
            basis.target,
            basis.last_operation.as_deref().unwrap_or("none"),
        )));
    }
    Ok(())
}

async fn change(
    cluster: &Cluster,
    object: &Object,
    target: &Target,
    operation: &Operation,
) -> Result<Value, OperatorError> {
    not_deleted(object)?;
    let Operation::RollBack { .. } = operation else {
        return plan(object, operation, now_ms());
    };
    has_template(object, "be rolled back")?;
    can_roll(object)?;
    if !is_observed(object) {
        return Err(OperatorError::Unavailable(format!(
            "the controller has not seen the last change of {target} yet, so that the revision before it is not known"
        )));
    }
    let template = previous_template(cluster, object)
        .await
        .map_err(|error| error.of_read(target))?;
    let Some(template) = template else {
        return Err(OperatorError::Refused(format!(
            "{target} has no revision before the present one"
        )));
    };
    let change = merge_patch::between(object.at("/spec/template"), &template);
    Ok(json!({"spec": {"template": change}}))
}

/// Finds out if a patch of `patched` without a response was applied. The mark on the target proves
/// it. Without the mark, the patch may still be on its way until somebody else writes to the
/// object. After that write, the patch's `resourceVersion` makes the API server reject it.
async fn settle(
    cluster: &Cluster,
    target: &Target,
    id: &OperationId,
    patched: &Object,
    why: &str,
) -> Result<Object, OperatorError> {
    let mut doubt = "the target cannot be looked at";
    for _ in 0..LOOKS {
        match cluster.get(patched.kind, target).await {
            Ok(object) if object.mark() == Some(id.as_str()) => return Ok(object),
            // A deployment tool may have put the change back, and removed the mark.
            Ok(object) if object.version() != patched.version() => {
                let by = changed_by(&object).unwrap_or_else(|| "somebody else".to_owned());
                return Err(OperatorError::InDoubt(format!(
                    "{why}; {by} changed {target} since, so that it can't be told whether it was done"
                )));
            }
            Ok(object) if object.resource_version() != patched.resource_version() => {
                return Err(OperatorError::Unavailable(format!(
                    "{why}; it was not done: the target was written to by others and does not carry its mark"
                )));
            }
            Ok(_) => doubt = "the target does not carry its mark, and it may still come through",
            Err(ApiError::NotFound(_)) => return Err(OperatorError::NotFound(target.clone())),
            Err(_) => {}
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Err(OperatorError::InDoubt(format!("{why}; {doubt}")))
}
