//! Times of incidents.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// Times that decide when an incident is diagnosed and closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// Time that an active finding must last, without a break, before its incident is diagnosed. An
    /// incident that ends earlier needs no remedy.
    #[serde(with = "duration")]
    pub confirm_after: Duration,
    /// Time for which all findings must be clear before the incident is closed.
    #[serde(with = "duration")]
    pub quiet_for: Duration,
    /// Time for which a finding of a previous engine counts without being found again.
    #[serde(with = "duration")]
    pub reaffirm_within: Duration,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        Self {
            confirm_after: Duration::from_secs(30),
            quiet_for: Duration::from_secs(60),
            reaffirm_within: Duration::from_secs(300),
        }
    }
}
