//! State of an entity as plain data.

use anomalyzer_domain::{UnixMs, truncate};
use serde::{Deserialize, Serialize};

/// Maximum length of a message from outside, in bytes. An event may carry a megabyte.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// Maximum number of conditions, containers and events of one entity, each.
const MAX_FACTS: usize = 32;

/// Newest known state of an entity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Conditions, as of Kubernetes objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Containers of a replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerState>,
    /// Recent events, deduplicated. `explain` uses them only if the entity is unhealthy now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventFact>,
    /// Replicas of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaCounts>,
    /// Revision of a workload or of a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

/// Condition of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Type, for example `Ready` or `DiskPressure`.
    pub name: String,
    /// Status.
    pub status: ConditionStatus,
    /// Reason in one word.
    #[serde(default)]
    pub reason: String,
    /// Message for people.
    #[serde(default)]
    pub message: String,
    /// Time of the last transition; `None` if unknown.
    #[serde(default)]
    pub since: Option<UnixMs>,
}

/// Phase of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerPhase {
    /// The container waits to start.
    Waiting,
    /// The container runs.
    Running,
    /// The container ended.
    Terminated,
}

/// State of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Name.
    pub name: String,
    /// Phase now.
    pub phase: ContainerPhase,
    /// True if the container is ready.
    #[serde(default)]
    pub ready: bool,
    /// Reason of the phase, for example `CrashLoopBackOff`.
    #[serde(default)]
    pub reason: String,
    /// Reason of the last end, for example `OOMKilled`.
    #[serde(default)]
    pub last_end: String,
    /// Exit code of the last end.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Number of restarts.
    #[serde(default)]
    pub restarts: u32,
    /// Time of the newest change of phase; `None` if unknown.
    #[serde(default)]
    pub since: Option<UnixMs>,
}

/// Recent event about an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFact {
    /// Reason, for example `FailedScheduling`.
    pub reason: String,
    /// Message, cut to a bounded length.
    pub message: String,
    /// Time of the first occurrence.
    pub first_at: UnixMs,
    /// Time of the newest occurrence.
    pub at: UnixMs,
    /// Number of occurrences.
    pub count: u32,
}

/// Replicas of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaCounts {
    /// Wanted number.
    pub wanted: u32,
    /// Existing number.
    pub existing: u32,
    /// Number that is ready.
    pub ready: u32,
    /// Usual number; `None` if unknown.
    #[serde(default)]
    pub usual: Option<u32>,
}

impl State {
    /// Cuts texts and lists from outside to their bounds. Control characters become spaces.
    pub(crate) fn bound(&mut self) {
        self.conditions.truncate(MAX_FACTS);
        self.containers.truncate(MAX_FACTS);
        // The newest events say most about the present state.
        self.events
            .sort_by(|a, b| (b.at, &a.reason).cmp(&(a.at, &b.reason)));
        self.events.truncate(MAX_FACTS);
        for condition in &mut self.conditions {
            condition.message = truncate(&condition.message, MAX_MESSAGE_BYTES);
        }
        for event in &mut self.events {
            event.message = truncate(&event.message, MAX_MESSAGE_BYTES);
        }
    }
}
