//! Did it help? Fresh samples after a settling time, against the range that was expected at the
//! onset.

mod judge;
mod recent;

pub use judge::{Claim, judge};
pub use recent::{Recent, RecentStatus};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// When and on what a verification is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyConfig {
    /// How long an effect takes to show.
    #[serde(with = "duration")]
    pub settle: Duration,
    /// How long samples are gathered after that.
    #[serde(with = "duration")]
    pub observe: Duration,
    /// With fewer fresh samples of a series the answer is `unknown`.
    pub min_samples: u32,
    /// Whether what did not help is taken back.
    pub undo: bool,
    /// How long after its incident has cleared what was scaled up goes back.
    #[serde(with = "duration")]
    pub scale_back_after: Duration,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(60),
            observe: Duration::from_secs(120),
            min_samples: 3,
            undo: true,
            scale_back_after: Duration::from_secs(900),
        }
    }
}
