//! Configuration of the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// The interval of saves, and the bounds of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateStoreConfig {
    /// Interval between two saves of the series with new samples. A crash costs at most the state
    /// of this time. A change of phase is saved at once, and everything is saved at the end.
    #[serde(with = "duration")]
    pub save_every: Duration,
    /// Time for which a state is kept that is not saved again.
    #[serde(with = "duration")]
    pub keep_for: Duration,
    /// Maximum size of the file, in bytes.
    pub max_bytes: u64,
}

impl Default for StateStoreConfig {
    fn default() -> Self {
        Self {
            save_every: Duration::from_secs(30),
            keep_for: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 1 << 30,
        }
    }
}
