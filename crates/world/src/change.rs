//! Changes of entities.

use anomalyzer_domain::{UnixMs, as_rfc3339};
use serde::{Deserialize, Serialize};

use crate::entity::EntityKey;

/// Maximum number of changes kept for one entity. A controller that rewrites an object every second
/// keeps its newest half hour by the minute, and no more.
pub const CHANGES_PER_ENTITY: usize = 32;

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// New revision of a workload: image, environment, probes or resources.
    Revision,
    /// Configuration object or secret. Only names and versions are known, never values.
    Config,
    /// Number of replicas, by a person or a tool.
    Replicas,
    /// Autoscaler bounds.
    Autoscaler,
    /// Network or authorization policy.
    Policy,
    /// Service, route or its endpoints.
    Routing,
    /// Quota or disruption budget.
    Quota,
    /// Node: cordon, taint or condition.
    Node,
    /// Feature flag.
    Flag,
    /// Deployment mark by a tool through the API.
    Deploy,
    /// Operation of this service.
    Operation,
    /// Any other change.
    Other,
}

impl ChangeKind {
    /// Returns the word for a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Revision => "revision",
            Self::Config => "configuration",
            Self::Replicas => "replicas",
            Self::Autoscaler => "autoscaler",
            Self::Policy => "policy",
            Self::Routing => "routing",
            Self::Quota => "quota",
            Self::Node => "node",
            Self::Flag => "feature flag",
            Self::Deploy => "deployment",
            Self::Operation => "operation",
            Self::Other => "change",
        }
    }
}

/// Change of one entity at one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Changed entity.
    pub entity: EntityKey,
    /// Kind of the change.
    pub kind: ChangeKind,
    /// Time of the change.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Author: a person, a controller or a tool. `None` if unknown.
    #[serde(default)]
    pub by: Option<String>,
    /// Value before, for example an image. `None` if unknown or secret.
    #[serde(default)]
    pub from: Option<String>,
    /// Value after. `None` if unknown or secret.
    #[serde(default)]
    pub to: Option<String>,
}
