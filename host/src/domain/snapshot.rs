//! What a target looks like.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Target, UnixMs};

/// Replicas of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// How many there should be.
    pub desired: u32,
    /// How many are ready.
    pub ready: u32,
}

/// Who else scales the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// `HorizontalPodAutoscaler` or `ScaledObject`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSummary {
    /// Name.
    pub name: String,
    /// `Running`, `Pending`, …
    pub phase: String,
    /// Whether it serves.
    pub ready: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// Why it last stopped or what it waits for, as `OOMKilled` or `ImagePullBackOff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a target looked like at one time: enough for an action to plan and for the guard to judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of what.
    pub target: Target,
    /// When.
    pub at: UnixMs,
    /// The operator's word for what was asked of the target (on Kubernetes uid and generation;
    /// status updates do not change it): an operation on another state is refused.
    pub version: String,
    /// Replicas. None for what has none.
    pub replicas: Option<Replicas>,
    /// Whether a rollout is under way.
    pub rolling_out: bool,
    /// Who else scales it.
    pub autoscaler: Option<Autoscaler>,
    /// Other owners seen (`argocd`, `flux`, `helm`), by labels and managed fields.
    pub managed_by: Vec<String>,
    /// The operation whose mark the target carries.
    pub last_operation: Option<String>,
    /// Replicas, one by one.
    pub pods: Vec<PodSummary>,
    /// Recent events, newest last, one line each.
    pub events: Vec<String>,
    /// The operator's raw object (spec and conditions), for evidence.
    pub raw: Value,
}

impl Snapshot {
    /// One of which no more is known than how many replicas there are.
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
            pods: vec![],
            events: vec![],
            raw: Value::Null,
        }
    }
}
