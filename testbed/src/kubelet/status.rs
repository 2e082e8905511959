//! Status of a pod, which the statuses of its containers determine.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// Returns the state of a waiting container, with the reason that `kubectl get pods` shows.
pub(super) fn waiting(reason: &str, message: impl Into<String>) -> ContainerState {
    let (reason, message) = (
        Some(reason.to_owned()),
        Some(message.into()).filter(|message| !message.is_empty()),
    );
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason, message }),
        ..ContainerState::default()
    }
}

/// Enters a state. If the container had terminated, that becomes its last state.
pub(super) fn enter(status: &mut ContainerStatus, state: ContainerState) {
    let before = status.state.replace(state);
    if let Some(before) = before.filter(|before| before.terminated.is_some()) {
        status.last_state = Some(before);
    }
}

/// Returns the state of a container that has run since `started_at`.
pub(super) fn running(started_at: Timestamp) -> ContainerState {
    let running = ContainerStateRunning {
        started_at: Some(Time(started_at)),
    };
    ContainerState {
        running: Some(running),
        ..ContainerState::default()
    }
}

/// Returns the state of a container that has ended.
pub(super) fn terminated(terminated: ContainerStateTerminated) -> ContainerState {
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

pub(super) fn before_the_first_run(container: &Container) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        image_id: format!("testbed://{image}"),
        image,
        started: Some(false),
        state: Some(waiting("ContainerCreating", "")),
        ..ContainerStatus::default()
    }
}

/// Returns true if the pod has ended for good.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Returns true if a container that ended with `exit_code` restarts.
pub(super) fn restarts(pod: &Pod, exit_code: i32) -> bool {
    match pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
    {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        _ => true,
    }
}

fn phase(pod: &Pod, containers: &[ContainerStatus]) -> &'static str {
    let ended = |container: &ContainerStatus| {
        container
            .state
            .as_ref()?
            .terminated
            .as_ref()
            .map(|end| end.exit_code)
    };
    let codes: Vec<_> = containers.iter().filter_map(ended).collect();
    if codes.len() == containers.len() && codes.iter().all(|code| !restarts(pod, *code)) {
        return if codes.iter().all(|code| *code == 0) {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    let never_ran = |container: &ContainerStatus| {
        container.last_state.is_none()
            && container
                .state
                .as_ref()
                .is_none_or(|state| state.waiting.is_some())
    };
    if containers.iter().any(never_ran) {
        "Pending"
    } else {
        "Running"
    }
}

/// Returns the patch with the pod's status. The API server refuses it if another pod has the name
/// by now.
pub(super) fn patch(
    pod: &Pod,
    uid: &str,
    address: Ipv4Addr,
    node: Ipv4Addr,
    containers: &[ContainerStatus],
    now: Timestamp,
) -> Value {
    let phase = phase(pod, containers);
    let before = pod.status.as_ref();
    let condition = |kind: &str, holds: bool, otherwise: (&str, &str)| {
        let status = if holds { "True" } else { "False" };
        let conditions = before
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let same = conditions
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == status);
        let since = same
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map_or(now, |time| time.0);
        let (reason, message) = if holds {
            (None, None)
        } else {
            (Some(otherwise.0), Some(otherwise.1))
        };
        json!({ "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message })
    };
    let unready: Vec<_> = containers
        .iter()
        .filter(|container| !container.ready)
        .map(|container| container.name.as_str())
        .collect();
    let not_ready = format!("containers with unready status: [{}]", unready.join(" "));
    let otherwise = match phase {
        "Succeeded" => ("PodCompleted", ""),
        "Failed" => ("PodFailed", ""),
        _ => ("ContainersNotReady", not_ready.as_str()),
    };
    let started = before
        .and_then(|status| status.start_time.as_ref())
        .map_or(now, |time| time.0);
    json!({
        "metadata": { "uid": uid },
        "status": {
            "phase": phase,
            "hostIP": node,
            "hostIPs": [{ "ip": node }],
            "podIP": address,
            "podIPs": [{ "ip": address }],
            "startTime": started,
            "conditions": [
                condition("PodReadyToStartContainers", true, ("", "")),
                condition("Initialized", true, ("", "")),
                condition("ContainersReady", unready.is_empty(), otherwise),
                condition("Ready", unready.is_empty(), otherwise),
            ],
            "containerStatuses": containers,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(
            json!({ "spec": { "restartPolicy": policy, "containers": [{ "name": "app" }] } }),
        )
        .unwrap()
    }

    fn container(state: ContainerState, last: Option<ContainerState>) -> ContainerStatus {
        ContainerStatus {
            name: "app".to_owned(),
            state: Some(state),
            last_state: last,
            ..ContainerStatus::default()
        }
    }

    fn ended(exit_code: i32) -> ContainerState {
        terminated(ContainerStateTerminated {
            exit_code,
            ..ContainerStateTerminated::default()
        })
    }

    #[test]
    fn a_pod_is_pending_until_its_container_has_run_and_running_while_it_comes_back() {
        assert_eq!(
            phase(
                &pod("Always"),
                &[container(waiting("ImagePullBackOff", ""), None)]
            ),
            "Pending"
        );
        assert_eq!(
            phase(
                &pod("Always"),
                &[container(running(Timestamp::now()), None)]
            ),
            "Running"
        );
        assert_eq!(
            phase(&pod("Always"), &[container(ended(1), None)]),
            "Running"
        );
        assert_eq!(
            phase(
                &pod("Always"),
                &[container(waiting("CrashLoopBackOff", ""), Some(ended(1)))]
            ),
            "Running"
        );
    }

    #[test]
    fn a_pod_that_is_not_restarted_ends_by_its_exit_codes() {
        assert_eq!(
            phase(&pod("Never"), &[container(ended(0), None)]),
            "Succeeded"
        );
        assert_eq!(phase(&pod("Never"), &[container(ended(3), None)]), "Failed");
        assert_eq!(
            phase(&pod("OnFailure"), &[container(ended(3), None)]),
            "Running"
        );
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let (long_ago, now) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        let mut pod = pod("Always");
        let conditions =
            json!([{ "type": "Ready", "status": "False", "lastTransitionTime": long_ago }]);
        pod.status = Some(serde_json::from_value(json!({ "conditions": conditions })).unwrap());
        let mut container = container(running(now), None);
        let address = Ipv4Addr::LOCALHOST;
        let ready = |container: &ContainerStatus| {
            patch(
                &pod,
                "u",
                address,
                address,
                std::slice::from_ref(container),
                now,
            )["status"]["conditions"][3]
                .clone()
        };
        assert_eq!(ready(&container)["lastTransitionTime"], json!(long_ago));
        container.ready = true;
        assert_eq!(
            (
                &ready(&container)["status"],
                &ready(&container)["lastTransitionTime"]
            ),
            (&json!("True"), &json!(now))
        );
    }
}
