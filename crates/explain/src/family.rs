//! Fault families that evidence can name.

use serde::{Deserialize, Serialize};

/// Family of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A new revision is worse than the old one.
    BadRelease,
    /// Containers end again and again.
    CrashLoop,
    /// An image cannot be pulled.
    ImagePull,
    /// A configuration object or a secret is missing.
    ConfigMissing,
    /// A configuration object, an environment or a flag changed.
    ConfigChange,
    /// A readiness probe fails.
    Readiness,
    /// A liveness probe kills containers.
    Liveness,
    /// The number of replicas was cut.
    ScaledDown,
    /// A container exceeded its memory limit.
    OutOfMemory,
    /// Memory use left its range.
    Memory,
    /// Processor use left its range.
    Cpu,
    /// A pool of connections or threads is full.
    Pool,
    /// A disk is full or slow.
    Disk,
    /// A queue grows.
    Queue,
    /// A quota is exhausted.
    Quota,
    /// Pods cannot be scheduled.
    Unschedulable,
    /// Pods were evicted or preempted.
    Eviction,
    /// A volume does not attach or bind.
    Volume,
    /// A node is not ready.
    Node,
    /// A node is short of memory, disk or processes.
    NodePressure,
    /// The network of an entity is slow or lossy.
    Network,
    /// Calls do not arrive: policy, DNS or selector.
    Unreachable,
    /// An autoscaler is at its bound or blind.
    Autoscaler,
    /// An admission webhook does not answer.
    Webhook,
    /// Log lines per request appeared or disappeared.
    CodeOrConfig,
}

impl Family {
    /// Returns the words for a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::BadRelease => "a release",
            Self::CrashLoop => "a crash loop",
            Self::ImagePull => "an image that cannot be pulled",
            Self::ConfigMissing => "missing configuration",
            Self::ConfigChange => "changed configuration",
            Self::Readiness => "a failing readiness probe",
            Self::Liveness => "a failing liveness probe",
            Self::ScaledDown => "removed replicas",
            Self::OutOfMemory => "an exceeded memory limit",
            Self::Memory => "memory use",
            Self::Cpu => "CPU use",
            Self::Pool => "an exhausted pool",
            Self::Disk => "a disk",
            Self::Queue => "a growing queue",
            Self::Quota => "an exhausted quota",
            Self::Unschedulable => "unschedulable pods",
            Self::Eviction => "evicted pods",
            Self::Volume => "a volume",
            Self::Node => "a node that is not ready",
            Self::NodePressure => "pressure on a node",
            Self::Network => "a slow network",
            Self::Unreachable => "calls that do not arrive",
            Self::Autoscaler => "an autoscaler",
            Self::Webhook => "an admission webhook",
            Self::CodeOrConfig => "code or configuration",
        }
    }
}
