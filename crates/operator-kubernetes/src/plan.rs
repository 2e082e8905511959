//! Translates an operation into a merge patch of an object.

use serde_json::{Value, json};

use super::object::{Kind, MARK, Object};
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

/// Checks that a change of the pod template would replace the pods.
pub fn can_roll(object: &Object) -> Result<(), OperatorError> {
    if object.at("/spec/paused") == true {
        return Err(OperatorError::Refused(
            "the Deployment is paused: resume it first".to_owned(),
        ));
    }
    if object.at("/spec/updateStrategy/type") == "OnDelete" {
        return Err(unsupported(
            "its update strategy is OnDelete: pods are replaced only when they are deleted",
        ));
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
    use anomalyzer_domain::{MergePatch, Target};

    fn target() -> Target {
        Target::new("shop", "Deployment", "web")
    }

    fn web(spec: &Value) -> Object {
        object(
            Kind::Deployment,
            json!({"metadata": {"resourceVersion": "7"}, "spec": spec}),
        )
    }

    #[test]
    fn the_field_the_mark_and_the_precondition_travel_in_one_patch() {
        let object = web(&json!({"replicas": 1}));
        let change = plan(
            &object,
            &Operation::Scale {
                target: target(),
                replicas: 3,
            },
            0,
        )
        .unwrap();
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
                target: target(),
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
    fn what_would_not_replace_pods_is_no_restart() {
        let restart = Operation::Restart { target: target() };
        assert!(plan(&web(&json!({"paused": true})), &restart, 0).is_err());
        assert!(
            plan(
                &web(&json!({"updateStrategy": {"type": "OnDelete"}})),
                &restart,
                0
            )
            .is_err()
        );
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
