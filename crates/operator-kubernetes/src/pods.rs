//! Pods of a target, each with the reason of its trouble.

use std::collections::HashSet;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
use super::error::ApiError;
use super::object::{Kind, Object};
use anomalyzer_domain::PodSummary;

/// Objects that belong to a target.
#[derive(Clone, Debug, Default)]
pub struct Belongings {
    /// Replica sets, if the target is a Deployment.
    pub replica_sets: Vec<ReplicaSet>,
    /// Pods, sorted by name.
    pub pods: Vec<Pod>,
}

/// Finds the objects that belong to `object`. Checks the selector and also the owner, because
/// foreign objects may have equal labels.
pub async fn of(cluster: &Cluster, object: &Object) -> Result<Belongings, ApiError> {
    let namespace = object.namespace();
    if object.kind == Kind::Pod {
        let pod = object.object.clone().try_parse::<Pod>();
        let pod = pod.map_err(|error| {
            ApiError::Unknown(format!("the API gave a pod that cannot be read: {error}"))
        })?;
        return Ok(Belongings {
            replica_sets: Vec::new(),
            pods: vec![pod],
        });
    }
    if !object.kind.rolls() {
        return Ok(Belongings::default());
    }
    let Some(selector) = object.selector() else {
        return Ok(Belongings::default());
    };
    let mut owners = HashSet::from([object.uid().to_owned()]);
    let mut replica_sets = Vec::new();
    if object.kind == Kind::Deployment {
        replica_sets = cluster
            .list::<ReplicaSet>(namespace, Some(&selector))
            .await?;
        replica_sets.retain(|set| owned(&set.metadata, &owners));
        owners = replica_sets
            .iter()
            .filter_map(|set| set.metadata.uid.clone())
            .collect();
    }
    let mut pods = cluster.list::<Pod>(namespace, Some(&selector)).await?;
    pods.retain(|pod| owned(&pod.metadata, &owners));
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(Belongings { replica_sets, pods })
}

/// Returns true if the controller of the object with `meta` is one of `owners`.
pub fn owned(meta: &ObjectMeta, owners: &HashSet<String>) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && owners.contains(&owner.uid))
}

/// Summarizes a pod.
pub fn summary(pod: &Pod) -> PodSummary {
    let status = pod.status.as_ref();
    let condition = |kind: &str| {
        status.and_then(|status| {
            status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == kind)
        })
    };
    let containers = || {
        status
            .into_iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
    };
    let started = || {
        status
            .into_iter()
            .flat_map(|status| status.init_container_statuses.iter().flatten())
            .chain(containers())
    };
    let waits = || {
        let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
        unscheduled.and_then(|condition| condition.reason.clone())
    };
    let evicted = || status.and_then(|status| status.reason.clone());
    PodSummary {
        name: pod.metadata.name.clone().unwrap_or_default(),
        phase: if pod.metadata.deletion_timestamp.is_some() {
            "Terminating".to_owned()
        } else {
            status
                .and_then(|status| status.phase.clone())
                .unwrap_or_else(|| "Unknown".to_owned())
        },
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        restarts: containers()
            .map(|status| u32::try_from(status.restart_count).unwrap_or_default())
            .sum(),
        reason: started().find_map(reason).or_else(evicted).or_else(waits),
    }
}

/// Returns the reason why a container last stopped, if the reason is more specific than an error or
/// a completion. Otherwise returns the reason why the container waits.
fn reason(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref();
    let terminated = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state
            .and_then(|state| state.terminated.as_ref())
            .and_then(|ended| ended.reason.clone())
    };
    let last = terminated(status.last_state.as_ref()).or_else(|| terminated(state));
    let waiting = state
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.clone());
    let telling = last
        .clone()
        .filter(|reason| reason != "Error" && reason != "Completed");
    telling
        .or(waiting)
        .or_else(|| last.filter(|reason| reason != "Completed"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reason_of(container: &Value) -> Option<String> {
        let mut status =
            json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 2});
        anomalyzer_operator::merge_patch::join(&mut status, container);
        let pod = json!({"metadata": {"name": "web-1"}, "status": {"phase": "Running", "containerStatuses": [status]}});
        let summary = summary(&serde_json::from_value(pod).unwrap());
        assert_eq!(summary.restarts, 2);
        summary.reason
    }

    #[test]
    fn the_reason_is_the_one_that_says_most() {
        let ended = |reason: &str| json!({"terminated": {"exitCode": 1, "reason": reason}});
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(
            reason_of(&json!({"state": back_off, "lastState": ended("OOMKilled")})).as_deref(),
            Some("OOMKilled")
        );
        assert_eq!(
            reason_of(&json!({"state": back_off, "lastState": ended("Error")})).as_deref(),
            Some("CrashLoopBackOff")
        );
        assert_eq!(
            reason_of(&json!({"state": {"waiting": {"reason": "ImagePullBackOff"}}})).as_deref(),
            Some("ImagePullBackOff")
        );
        assert_eq!(reason_of(&json!({"state": {"running": {}}})), None);
    }

    #[test]
    fn an_unscheduled_pod_says_so() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        let summary = summary(&serde_json::from_value(pod).unwrap());
        assert_eq!(
            (summary.reason.as_deref(), summary.ready),
            (Some("Unschedulable"), false)
        );
    }
}
