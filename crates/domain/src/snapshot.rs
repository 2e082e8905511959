//! Snapshots of targets.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Target, UnixMs};

/// Replicas of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// Desired number of replicas.
    pub desired: u32,
    /// Number of ready replicas.
    pub ready: u32,
}

/// Autoscaler that also scales the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// `HorizontalPodAutoscaler` or `ScaledObject`.
    pub kind: String,
    /// Name of the autoscaler.
    pub name: String,
    /// Minimum number of replicas.
    pub min: u32,
    /// Maximum number of replicas.
    pub max: u32,
}

/// State of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSummary {
    /// Name of the replica.
    pub name: String,
    /// Phase of the replica: `Running`, `Pending`, …
    pub phase: String,
    /// True if the replica serves requests.
    pub ready: bool,
    /// Number of restarts.
    pub restarts: u32,
    /// Reason for the last stop or for waiting, for example `OOMKilled` or `ImagePullBackOff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// State of a target at one time, in enough detail for an action to plan and for the guard to
/// judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Target of the snapshot.
    pub target: Target,
    /// Time of the snapshot.
    pub at: UnixMs,
    /// Version of the target's desired state, in the operator's notation (on Kubernetes uid and
    /// generation; status updates do not change it). An operation planned on another version is
    /// refused.
    pub version: String,
    /// Replicas of the target. None for a target without replicas.
    pub replicas: Option<Replicas>,
    /// True if a rollout is in progress.
    pub rolling_out: bool,
    /// Autoscaler of the target.
    pub autoscaler: Option<Autoscaler>,
    /// Other owners (`argocd`, `flux`, `helm`), detected by labels and managed fields.
    pub managed_by: Vec<String>,
    /// Id of the operation whose mark the target carries.
    pub last_operation: Option<String>,
    /// Name of the client that changed the target last (on Kubernetes its field manager). None if
    /// it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// State of each replica.
    pub pods: Vec<PodSummary>,
    /// Recent events, newest last, one line each.
    pub events: Vec<String>,
    /// Raw object of the operator (spec and conditions), used as evidence.
    pub raw: Value,
}

impl Snapshot {
    /// Creates a snapshot with no known details except the replicas.
    pub fn plain(target: Target, at: UnixMs, replicas: Option<Replicas>) -> Self {
        Self {
            target,
            at,
            version: String::new(),
            replicas,
            rolling_out: false,
            autoscaler: None,
            managed_by: vec![],
            last_operation: None,
            changed_by: None,
            pods: vec![],
            events: vec![],
            raw: Value::Null,
        }
    }
}
