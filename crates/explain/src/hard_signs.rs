//! Hard evidence in the state of an entity: the rows of the fault table.

use anomalyzer_domain::{UnixMs, one_line};
use anomalyzer_world::{
    Condition, ConditionStatus, ContainerPhase, ContainerState, Entity, EventFact, State,
};

use crate::cause::Cause;
use crate::changes::SUSPECT_WINDOW;
use crate::family::Family;
use crate::limits::Limits;

/// Row of the table: a condition with a status, and words that its reason or message contains.
struct ConditionRow(&'static str, ConditionStatus, &'static str, Family);

const CONDITIONS: [ConditionRow; 12] = [
    ConditionRow(
        "DiskPressure",
        ConditionStatus::True,
        "",
        Family::NodePressure,
    ),
    ConditionRow(
        "MemoryPressure",
        ConditionStatus::True,
        "",
        Family::NodePressure,
    ),
    ConditionRow(
        "PIDPressure",
        ConditionStatus::True,
        "",
        Family::NodePressure,
    ),
    ConditionRow(
        "NetworkUnavailable",
        ConditionStatus::True,
        "",
        Family::Node,
    ),
    ConditionRow(
        "PodScheduled",
        ConditionStatus::False,
        "",
        Family::Unschedulable,
    ),
    ConditionRow(
        "Progressing",
        ConditionStatus::False,
        "",
        Family::BadRelease,
    ),
    ConditionRow(
        "ReplicaFailure",
        ConditionStatus::True,
        "quota",
        Family::Quota,
    ),
    ConditionRow(
        "ReplicaFailure",
        ConditionStatus::True,
        "webhook",
        Family::Webhook,
    ),
    ConditionRow(
        "ScalingActive",
        ConditionStatus::False,
        "",
        Family::Autoscaler,
    ),
    ConditionRow(
        "ScalingLimited",
        ConditionStatus::True,
        "TooManyReplicas",
        Family::Autoscaler,
    ),
    ConditionRow("Bound", ConditionStatus::False, "", Family::Volume),
    ConditionRow(
        "EndpointsReady",
        ConditionStatus::False,
        "",
        Family::Unreachable,
    ),
];

/// Reason of a waiting container.
const WAITING: [(&str, Family); 7] = [
    ("CrashLoopBackOff", Family::CrashLoop),
    ("ImagePullBackOff", Family::ImagePull),
    ("ErrImagePull", Family::ImagePull),
    ("InvalidImageName", Family::ImagePull),
    ("CreateContainerConfigError", Family::ConfigMissing),
    ("CreateContainerError", Family::CrashLoop),
    ("RunContainerError", Family::CrashLoop),
];

/// Reason of an event, and words that its message contains. The first fitting row counts.
const EVENTS: [(&str, &str, Family); 13] = [
    ("FailedMount", "not found", Family::ConfigMissing),
    ("FailedMount", "", Family::Volume),
    ("FailedAttachVolume", "", Family::Volume),
    ("FailedCreate", "quota", Family::Quota),
    ("FailedCreate", "webhook", Family::Webhook),
    ("FailedScheduling", "", Family::Unschedulable),
    ("Unhealthy", "Readiness", Family::Readiness),
    ("Unhealthy", "Liveness", Family::Liveness),
    ("Killing", "liveness", Family::Liveness),
    ("Evicted", "", Family::Eviction),
    ("Preempted", "", Family::Eviction),
    ("FailedGetResourceMetric", "", Family::Autoscaler),
    ("FailedComputeMetricsReplicas", "", Family::Autoscaler),
];

/// Returns the hard evidence in the state of an entity.
///
/// A state that began long before the onset is not a finding, however odd it is. Events count only
/// if the entity is unhealthy now.
pub fn hard_signs(entity: &Entity, onset: UnixMs, limits: &Limits) -> Vec<Cause> {
    let state = &entity.state;
    let is_recent = |since: Option<UnixMs>| {
        since.is_none_or(|since| since >= onset.saturating_sub(SUSPECT_WINDOW))
    };
    let mut causes = Vec::new();
    for condition in state
        .conditions
        .iter()
        .filter(|condition| is_recent(condition.since))
    {
        if let Some(family) = condition_family(&entity.key.kind, condition) {
            let words = [condition.reason.as_str(), condition.message.as_str()].join(" ");
            let words = one_line(&words, limits.text);
            let text = format!(
                "condition {} is {:?}: {words}",
                condition.name, condition.status
            );
            causes.push(Cause::hard(family, text));
        }
    }
    for container in state
        .containers
        .iter()
        .filter(|container| is_recent(container.since))
    {
        if let Some(family) = container_family(container) {
            let reason = if container.reason.is_empty() {
                &container.last_end
            } else {
                &container.reason
            };
            let text = format!(
                "container {}: {}, {} restarts",
                one_line(&container.name, limits.text),
                one_line(reason, limits.text),
                container.restarts
            );
            causes.push(Cause::hard(family, text));
        }
    }
    if is_unhealthy(&entity.key.kind, state) {
        for event in state
            .events
            .iter()
            .filter(|event| is_recent(Some(event.at)))
        {
            if let Some(family) = event_family(event) {
                let message = one_line(&event.message, limits.text);
                causes.push(Cause::hard(
                    family,
                    format!("event {}: {message}", event.reason),
                ));
            }
        }
    }
    causes
}

/// Returns true if the state shows that the entity does not work now.
pub fn is_unhealthy(kind: &str, state: &State) -> bool {
    let is_bad = |condition: &Condition| {
        condition_family(kind, condition).is_some()
            || (condition.name == "Ready" && condition.status != ConditionStatus::True)
    };
    state.conditions.iter().any(is_bad)
        || state.containers.iter().any(|container| !container.ready)
        || state
            .replicas
            .is_some_and(|replicas| replicas.ready < replicas.wanted)
}

fn condition_family(kind: &str, condition: &Condition) -> Option<Family> {
    if kind == "Node" && condition.name == "Ready" {
        return (condition.status != ConditionStatus::True).then_some(Family::Node);
    }
    let row = CONDITIONS
        .iter()
        .find(|ConditionRow(name, status, words, _)| {
            condition.name == *name
                && condition.status == *status
                && (condition.reason.contains(words) || condition.message.contains(words))
        });
    row.map(|ConditionRow(.., family)| *family)
}

fn container_family(container: &ContainerState) -> Option<Family> {
    let is_out_of_memory = container.last_end == "OOMKilled" || container.reason == "OOMKilled";
    if is_out_of_memory && (container.restarts > 0 || container.phase != ContainerPhase::Running) {
        return Some(Family::OutOfMemory);
    }
    let row = WAITING
        .iter()
        .find(|(reason, _)| container.reason == *reason);
    row.map(|(_, family)| *family)
}

fn event_family(event: &EventFact) -> Option<Family> {
    let row = EVENTS
        .iter()
        .find(|(reason, words, _)| event.reason == *reason && event.message.contains(words));
    row.map(|(.., family)| *family)
}
