//! Configuration of the retention.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// Default of [`RetentionConfig::max_bytes`].
const DEFAULT_MAX_BYTES: u64 = 32 << 30;

/// Configuration of the retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Maximum age of events; older events are pruned. By default no event is pruned.
    #[serde(with = "duration::option")]
    pub keep_for: Option<Duration>,
    /// Maximum size of the file in bytes; beyond it the oldest events are pruned.
    pub max_bytes: Option<u64>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            keep_for: None,
            max_bytes: Some(DEFAULT_MAX_BYTES),
        }
    }
}
