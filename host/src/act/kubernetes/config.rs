//! Configuration of the cluster connection.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::duration;

/// The `[kubernetes]` table. The operator exists if this table does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Path of a kubeconfig file. Without one, the service account of the pod is used in which this
    /// process runs. A file from the home directory is never used, because it may describe any
    /// cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Name of a context in the kubeconfig. The default is its current context.
    pub context: Option<String>,
    /// Timeout of one request.
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
