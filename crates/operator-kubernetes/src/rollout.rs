//! Detects rollouts in progress, with the rules of `kubectl rollout status`.

use serde_json::Value;

use super::object::{Kind, Object};

/// Value of `progressDeadlineSeconds` that means no deadline. It is the default of old API
/// versions, and objects from that time keep it. The controller then keeps no condition
/// `Progressing`.
const NO_DEADLINE: u64 = i32::MAX as u64;

/// Returns true if pods are being replaced by those of another revision.
///
/// A pod that is merely not ready is no rollout, because a target with a sick pod must remain
/// repairable. Neither is a rollout that cannot move: one that is paused, one that has been stuck
/// since its deadline, and one that waits until somebody deletes the pods.
pub fn rolling_out(object: &Object) -> bool {
    match object.kind {
        Kind::Deployment => is_unseen(object) || deployment(object),
        Kind::StatefulSet => is_unseen(object) || stateful_set(object),
        Kind::DaemonSet => is_unseen(object) || daemon_set(object),
        // An Ingress has no observed generation and no rollouts.
        Kind::Pod | Kind::Ingress => false,
    }
}

/// Returns true if the controller has not seen the last change of the spec.
fn is_unseen(object: &Object) -> bool {
    let observed = object.at("/status/observedGeneration").as_i64();
    observed.unwrap_or_default() < object.generation()
}

fn deployment(object: &Object) -> bool {
    if object.at("/spec/paused") == true {
        return false;
    }
    let [all, updated, available] = ["replicas", "updatedReplicas", "availableReplicas"]
        .map(|name| object.number(&format!("/status/{name}")));
    let replaced = updated >= object.wanted_replicas() && all <= updated;
    match progressing(object) {
        // The rollout is complete: a pod that is not available any more is sick.
        Some("NewReplicaSetAvailable") => !replaced,
        Some("ProgressDeadlineExceeded" | "DeploymentPaused") => false,
        // Nothing but the counters tells a new pod from a sick one.
        Some(_) | None => !replaced || available < updated,
    }
}

fn stateful_set(object: &Object) -> bool {
    let (current, update) = (
        object.at("/status/currentRevision"),
        object.at("/status/updateRevision"),
    );
    if !rolls(object) || current == update {
        return false;
    }
    let kept = partition(object);
    let updated = object.number("/status/updatedReplicas");
    // With a partition, the two revisions stay different for ever. Without one, they become equal
    // once the last new pod is ready.
    kept == 0 || updated < object.wanted_replicas().saturating_sub(kept)
}

/// Returns the number of pods of a StatefulSet that a rollout leaves alone: those with the lowest
/// ordinals.
pub fn partition(object: &Object) -> u32 {
    object.number("/spec/updateStrategy/rollingUpdate/partition")
}

/// A DaemonSet counts the nodes on which its pods belong. Nodes with a taint that it does not
/// tolerate are not among them.
fn daemon_set(object: &Object) -> bool {
    let [updated, desired] = ["updatedNumberScheduled", "desiredNumberScheduled"]
        .map(|name| object.number(&format!("/status/{name}")));
    rolls(object) && updated < desired
}

fn rolls(object: &Object) -> bool {
    object.at("/spec/updateStrategy/type") != "OnDelete"
}

/// Returns the reason of the condition `Progressing`, if the controller keeps one.
fn progressing(object: &Object) -> Option<&str> {
    if object.at("/spec/progressDeadlineSeconds") == NO_DEADLINE {
        return None;
    }
    let conditions = object.at("/status/conditions").as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == "Progressing")?
        .get("reason")
        .and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::tests::object;
    use anomalyzer_operator::merge_patch;

    fn web(reason: &str, updated: u32, all: u32, available: u32, observed: i64) -> Object {
        object(
            Kind::Deployment,
            json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": 3},
                "status": {
                    "observedGeneration": observed, "replicas": all, "updatedReplicas": updated,
                    "availableReplicas": available, "conditions": [{"type": "Progressing", "reason": reason}]
                }
            }),
        )
    }

    #[test]
    fn a_deployment_rolls_until_the_controller_says_that_it_is_complete() {
        assert!(
            rolling_out(&web("NewReplicaSetAvailable", 3, 3, 3, 1)),
            "the controller has not seen the change"
        );
        assert!(
            rolling_out(&web("ReplicaSetUpdated", 1, 4, 3, 2)),
            "pods are being replaced"
        );
        assert!(
            rolling_out(&web("ReplicaSetUpdated", 3, 3, 2, 2)),
            "the last one is not available yet"
        );
        assert!(!rolling_out(&web("NewReplicaSetAvailable", 3, 3, 3, 2)));
    }

    #[test]
    fn a_sick_pod_and_a_stuck_rollout_are_no_rollout_so_that_they_can_be_healed() {
        assert!(!rolling_out(&web("NewReplicaSetAvailable", 3, 3, 1, 2)));
        assert!(!rolling_out(&web("ProgressDeadlineExceeded", 1, 4, 3, 2)));
    }

    /// Builds an object at generation 2 whose controller has seen it, unless the status says
    /// otherwise.
    fn seen(kind: Kind, spec: &Value, status: &Value) -> Object {
        let mut json = json!({
            "metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": 2}
        });
        merge_patch::join(&mut json, &json!({"spec": spec, "status": status}));
        object(kind, json)
    }

    #[test]
    fn a_deployment_without_a_deadline_is_judged_by_its_counters() {
        let counters = |all: u32, updated: u32, available: u32| {
            json!({
                "replicas": all, "updatedReplicas": updated, "availableReplicas": available,
                "conditions": [{"type": "Available", "status": "True"}]
            })
        };
        for (spec, status, rolls) in [
            (
                json!({"progressDeadlineSeconds": i32::MAX}),
                counters(3, 3, 3),
                false,
            ),
            (json!({}), counters(3, 3, 3), false),
            (json!({}), counters(4, 3, 3), true),
            (json!({}), counters(3, 1, 3), true),
            (json!({}), counters(3, 3, 2), true),
            (json!({}), json!({}), true),
            (json!({"replicas": 0}), json!({}), false),
            (json!({"replicas": null}), counters(1, 1, 1), false),
            (
                json!({}),
                json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}),
                true,
            ),
            // A condition that was left behind says nothing.
            (
                json!({"progressDeadlineSeconds": i32::MAX}),
                json!({"replicas": 4, "updatedReplicas": 1, "availableReplicas": 3,
                       "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
                true,
            ),
            // A paused rollout does not move, whatever the controller wrote before.
            (json!({"paused": true}), counters(4, 1, 3), false),
            (
                json!({"paused": true}),
                json!({"replicas": 4, "updatedReplicas": 1, "availableReplicas": 3,
                       "conditions": [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}]}),
                false,
            ),
            (
                json!({"paused": true}),
                json!({"observedGeneration": 1}),
                true,
            ),
            // Complete by its counters before the controller says so.
            (
                json!({"progressDeadlineSeconds": 600}),
                json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
                       "conditions": [{"type": "Progressing", "reason": "ReplicaSetUpdated"}]}),
                false,
            ),
        ] {
            let object = seen(Kind::Deployment, &spec, &status);
            assert_eq!(rolling_out(&object), rolls, "{spec} {status}");
        }
    }

    #[test]
    fn a_stateful_set_rolls_down_to_its_partition_and_not_on_delete() {
        let status = |updated: u32, current: &str| {
            json!({"currentRevision": current, "updateRevision": "b", "updatedReplicas": updated,
                   "readyReplicas": 2, "replicas": 3})
        };
        let partition = |partition: u32| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        for (spec, status, rolls) in [
            (partition(0), status(1, "a"), true),
            // The last new pod is not ready yet.
            (partition(0), status(3, "a"), true),
            (partition(0), status(3, "b"), false),
            (partition(2), status(1, "a"), false),
            (partition(2), status(0, "a"), true),
            (partition(5), status(0, "a"), false),
            (json!({}), status(1, "a"), true),
            // One of the pods is sick, and none is replaced.
            (json!({}), status(0, "b"), false),
            (
                json!({"podManagementPolicy": "OrderedReady"}),
                status(0, "b"),
                false,
            ),
            (
                json!({"updateStrategy": {"type": "OnDelete"}}),
                status(1, "a"),
                false,
            ),
        ] {
            let object = seen(Kind::StatefulSet, &spec, &status);
            assert_eq!(rolling_out(&object), rolls, "{spec} {status}");
        }
        let unseen =
            json!({"observedGeneration": 1, "currentRevision": "b", "updateRevision": "b"});
        assert!(rolling_out(&seen(Kind::StatefulSet, &json!({}), &unseen)));
    }

    #[test]
    fn a_daemon_set_rolls_on_the_nodes_where_it_belongs() {
        for (kind, desired, updated, available, rolls) in [
            ("RollingUpdate", 3, 3, 3, false),
            ("RollingUpdate", 3, 2, 3, true),
            // A pod is sick.
            ("RollingUpdate", 3, 3, 2, false),
            // No node tolerates it: all nodes have a taint.
            ("RollingUpdate", 0, 0, 0, false),
            ("OnDelete", 3, 1, 3, false),
        ] {
            let spec = json!({"updateStrategy": {"type": kind}});
            let status = json!({
                "desiredNumberScheduled": desired, "currentNumberScheduled": desired, "numberMisscheduled": 2,
                "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": available
            });
            let object = seen(Kind::DaemonSet, &spec, &status);
            assert_eq!(rolling_out(&object), rolls, "{spec} {status}");
        }
    }
}
