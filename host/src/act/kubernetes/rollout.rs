//! Detects rollouts in progress, with the rules of `kubectl rollout status`.

use serde_json::Value;

use super::object::{Kind, Object};

/// Returns true if pods are being replaced by those of another revision.
///
/// A pod that is merely not ready is no rollout. The controller reports by its condition
/// `Progressing` that its last rollout is complete, and a target with a sick pod must remain
/// repairable. A rollout that has been stuck since its deadline is no rollout either.
pub fn rolling_out(object: &Object) -> bool {
    let observed = object
        .at("/status/observedGeneration")
        .as_i64()
        .unwrap_or_default();
    let unseen = observed < object.generation();
    match object.kind {
        Kind::Deployment => unseen || deployment(object),
        Kind::StatefulSet => unseen || stateful_set(object),
        Kind::DaemonSet => {
            unseen
                || (rolls(object)
                    && object.number("/status/updatedNumberScheduled")
                        < object.number("/status/desiredNumberScheduled"))
        }
        // An Ingress has no observed generation and no rollouts.
        Kind::Pod | Kind::Ingress => false,
    }
}

fn deployment(object: &Object) -> bool {
    match progressing(object) {
        Some("NewReplicaSetAvailable") => {
            let updated = object.number("/status/updatedReplicas");
            updated < object.wanted_replicas() || updated < object.number("/status/replicas")
        }
        Some("ProgressDeadlineExceeded" | "DeploymentPaused") => false,
        _ => true,
    }
}

fn stateful_set(object: &Object) -> bool {
    if !rolls(object) || object.at("/status/currentRevision") == object.at("/status/updateRevision")
    {
        return false;
    }
    let kept = object.number("/spec/updateStrategy/rollingUpdate/partition");
    object.number("/status/updatedReplicas") < object.wanted_replicas().saturating_sub(kept)
}

fn rolls(object: &Object) -> bool {
    object.at("/spec/updateStrategy/type") != "OnDelete"
}

/// Returns the reason of the condition `Progressing`.
fn progressing(object: &Object) -> Option<&str> {
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
    use crate::act::kubernetes::object::tests::object;

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

    #[test]
    fn a_stateful_set_rolls_down_to_its_partition() {
        let set = |updated: u32, partition: u32| {
            object(
                Kind::StatefulSet,
                json!({
                    "metadata": {"generation": 1},
                    "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}},
                    "status": {"observedGeneration": 1, "currentRevision": "a", "updateRevision": "b", "updatedReplicas": updated}
                }),
            )
        };
        assert!(rolling_out(&set(1, 0)));
        assert!(!rolling_out(&set(1, 2)));
    }
}
