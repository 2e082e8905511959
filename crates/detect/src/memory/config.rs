//! How often detectors are saved, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// How often what detectors know is saved, and for how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// How often series that got samples are saved: what a crash costs at most. A change of phase
    /// is saved at once, and everything at the end.
    #[serde(with = "duration")]
    pub save_every: Duration,
    /// How long what is not saved again is kept.
    #[serde(with = "duration")]
    pub keep_for: Duration,
    /// How large the file may become, in bytes.
    pub max_bytes: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            save_every: Duration::from_secs(30),
            keep_for: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 1 << 30,
        }
    }
}
