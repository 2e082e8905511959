//! Translates an operation into a merge patch of an object.

use serde_json::{Value, json};

use super::object::{Kind, MARK, Object};
use super::rollout::partition;
use anomalyzer_domain::{Operation, rfc3339};
use anomalyzer_operator::{OperatorError, merge_patch};

/// Annotation that `kubectl rollout restart` sets.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Returns the patch for `scale`, `restart` or `patch`, without the mark. `now` is the time of the
/// restart in Unix milliseconds.
pub fn plan(object: &Object, operation: &Operation, now: i64) -> Result<Value, OperatorError> {
    match operation {
        Operation::Scale { replicas, .. } => match object.kind {
            Kind::Deployment | Kind::StatefulSet => Ok(json!({"spec": {"replicas": replicas}})),
            Kind::DaemonSet => Err(unsupported(
                "a DaemonSet has one pod on each node and cannot be scaled",
            )),
            Kind::Pod => Err(unsupported(
                "a pod cannot be scaled: name the Deployment or StatefulSet that owns it",
            )),
            Kind::Ingress => Err(unsupported(
                "an Ingress has no replicas: name the Deployment or StatefulSet behind it",
            )),
        },
        Operation::Restart { .. } => {
            has_template(object, "be restarted")?;
            can_roll(object)?;
            let annotations = json!({ RESTARTED_AT: rfc3339(now) });
            Ok(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
        }
        Operation::Patch(patch) => {
            check(&patch.patch)?;
            if !patch.patch["spec"]["template"].is_null() {
                can_roll(&object.patched(&patch.patch))?;
            }
            Ok(patch.patch.clone())
        }
        other => Err(OperatorError::Unsupported(format!(
            "the Kubernetes operator cannot do `{}`",
            other.kind()
        ))),
    }
}

fn unsupported(why: &str) -> OperatorError {
    OperatorError::Unsupported(why.to_owned())
}

/// Checks that the object has a pod template to change. `what` names the action for the error
/// message.
pub fn has_template(object: &Object, what: &str) -> Result<(), OperatorError> {
    if object.kind.rolls() {
        return Ok(());
    }
    let kind = if object.kind == Kind::Pod {
        "a pod"
    } else {
        "an Ingress"
    };
    Err(unsupported(&format!(
        "{kind} cannot {what}: name the Deployment or StatefulSet that it belongs to"
    )))
}

/// Checks that nobody deletes the object.
pub fn not_deleted(object: &Object) -> Result<(), OperatorError> {
    match object.object.metadata.deletion_timestamp {
        Some(_) => Err(OperatorError::Refused(
            "the target is being deleted".to_owned(),
        )),
        None => Ok(()),
    }
}

/// Checks that a change of the pod template would replace the pods.
pub fn can_roll(object: &Object) -> Result<(), OperatorError> {
    let refused = |why: &str| Err(OperatorError::Refused(why.to_owned()));
    if object.at("/spec/paused") == true {
        return refused(
            "the Deployment is paused, so that no pod would be replaced: resume it first, with `kubectl rollout resume`",
        );
    }
    if object.at("/spec/updateStrategy/type") == "OnDelete" {
        return Err(unsupported(
            "its update strategy is OnDelete: pods are replaced only when somebody deletes them",
        ));
    }
    let partition = partition(object);
    if object.kind == Kind::StatefulSet && partition > 0 && partition >= object.wanted_replicas() {
        return refused(
            "its partition leaves all pods alone, so that no pod would be replaced: lower spec.updateStrategy.rollingUpdate.partition first",
        );
    }
    Ok(())
}

/// Checks that a patch changes only the spec, labels and annotations. The other fields belong to
/// the API server or to this host.
fn check(patch: &Value) -> Result<(), OperatorError> {
    let wrong = |what: &str| {
        Err(OperatorError::Refused(format!(
            "a patch may change spec, labels and annotations, not {what}"
        )))
    };
    let Some(fields) = patch.as_object() else {
        return wrong("the whole object");
    };
    for (name, value) in fields {
        match (name.as_str(), value.as_object()) {
            ("spec", Some(_)) => {}
            ("metadata", Some(metadata)) => {
                for (name, value) in metadata {
                    match (name.as_str(), value.as_object()) {
                        ("annotations", Some(annotations)) if annotations.contains_key(MARK) => {
                            return wrong(MARK);
                        }
                        ("labels" | "annotations", Some(_)) => {}
                        (other, _) => return wrong(&format!("metadata.{other}")),
                    }
                }
            }
            (other, _) => return wrong(other),
        }
    }
    Ok(())
}

/// Returns the patch with the operation's mark. The patch is valid only for the version of the
/// object that was read.
pub fn marked(change: &Value, id: &str, object: &Object) -> Value {
    let mut patch = change.clone();
    let metadata = json!({"resourceVersion": object.resource_version(), "annotations": {MARK: id}});
    merge_patch::join(&mut patch, &json!({ "metadata": metadata }));
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::object;
    use anomalyzer_domain::{MergePatch, Target, testing};

    fn web(spec: &Value) -> Object {
        object(
            Kind::Deployment,
            json!({"metadata": {"resourceVersion": "7"}, "spec": spec}),
        )
    }

    #[test]
    fn the_field_the_mark_and_the_precondition_travel_in_one_patch() {
        let object = web(&json!({"replicas": 1}));
        let change = plan(&object, &testing::scale(testing::web(), 3), 0).unwrap();
        assert_eq!(
            marked(&change, "op-1", &object),
            json!({
                "spec": {"replicas": 3},
                "metadata": {"resourceVersion": "7", "annotations": {"anomalyzer.dev/operation": "op-1"}}
            })
        );
    }

    #[test]
    fn a_patch_may_not_touch_identity_status_or_the_mark() {
        for patch in [
            json!(null),
            json!({"status": {}}),
            json!({"kind": "Pod"}),
            json!({"spec": null}),
            json!({"metadata": {"name": "other"}}),
            json!({"metadata": {"resourceVersion": "1"}}),
            json!({"metadata": {"annotations": {"anomalyzer.dev/operation": "op-0"}}}),
        ] {
            let operation = Operation::Patch(MergePatch {
                target: testing::web(),
                patch: patch.clone(),
            });
            assert!(
                matches!(
                    plan(&web(&json!({})), &operation, 0),
                    Err(OperatorError::Refused(_))
                ),
                "{patch}"
            );
        }
    }

    #[test]
    fn a_change_that_would_replace_no_pod_is_refused_with_the_reason() {
        let restart = Operation::Restart {
            target: testing::web(),
        };
        let image = |more: Value| {
            let mut patch = json!({"spec": {"template": {"spec": {"nodeName": "n"}}}});
            merge_patch::join(&mut patch, &json!({ "spec": more }));
            Operation::Patch(MergePatch {
                target: testing::web(),
                patch,
            })
        };
        let partition = |partition: u32| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        for (kind, spec, reason) in [
            (Kind::Deployment, json!({"paused": true}), "paused"),
            (Kind::StatefulSet, on_delete.clone(), "OnDelete"),
            (Kind::DaemonSet, on_delete, "OnDelete"),
            (Kind::StatefulSet, partition(3), "partition"),
            (Kind::StatefulSet, partition(9), "partition"),
        ] {
            let object = object(
                kind,
                json!({"metadata": {"resourceVersion": "7"}, "spec": spec}),
            );
            for operation in [&restart, &image(json!({}))] {
                let error = plan(&object, operation, 0).unwrap_err().to_string();
                assert!(error.contains(reason), "{spec}: {error}");
            }
        }
        for (kind, spec, operation) in [
            (Kind::Deployment, json!({"paused": false}), restart.clone()),
            (Kind::StatefulSet, partition(2), restart.clone()),
            (Kind::StatefulSet, partition(0), restart.clone()),
            (Kind::DaemonSet, json!({}), restart.clone()),
            // The patch itself lets the pods be replaced, or needs no replacement.
            (
                Kind::Deployment,
                json!({"paused": true}),
                image(json!({"paused": false})),
            ),
            (
                Kind::Deployment,
                json!({"paused": true}),
                testing::scale(testing::web(), 2),
            ),
        ] {
            let object = object(
                kind,
                json!({"metadata": {"resourceVersion": "7"}, "spec": spec}),
            );
            assert!(plan(&object, &operation, 0).is_ok(), "{spec}");
        }
        let deleted =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        assert!(not_deleted(&object(Kind::Deployment, deleted)).is_err());
        for kind in [Kind::Pod, Kind::Ingress] {
            let other = object(kind, json!({"metadata": {}}));
            assert!(matches!(
                plan(&other, &restart, 0),
                Err(OperatorError::Unsupported(_))
            ));
        }
    }

    #[test]
    fn an_ingress_is_patched_and_nothing_else() {
        let way_in = object(
            Kind::Ingress,
            json!({"metadata": {"resourceVersion": "7"}, "spec": {}}),
        );
        let target = Target::new("shop", "Ingress", "web");
        let limit =
            json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/limit-rps": "50"}}});
        let patch = Operation::Patch(MergePatch {
            target: target.clone(),
            patch: limit.clone(),
        });
        assert_eq!(plan(&way_in, &patch, 0).unwrap(), limit);
        let scale = Operation::Scale {
            target,
            replicas: 2,
        };
        assert!(matches!(
            plan(&way_in, &scale, 0),
            Err(OperatorError::Unsupported(_))
        ));
        assert_eq!(way_in.replicas(), None);
    }
}
