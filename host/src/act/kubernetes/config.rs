//! Which cluster, as configured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::duration;

/// `[kubernetes]`. The operator is there if this table is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// A kubeconfig file. Without one, the service account of the pod that this runs in: never a
    /// file from the home directory, which may speak of any cluster.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. By default its current one.
    pub context: Option<String>,
    /// How long one request may take.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            request_timeout: Duration::from_secs(10),
        }
    }
}
