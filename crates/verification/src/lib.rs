//! Verification of an effect: fresh samples after a settling time, compared with the range that was
//! expected at the onset.

mod compare;
mod observation;
mod recent_samples;

pub use compare::{SignalCheck, judge};
pub use observation::{Observation, SignalTiming};
pub use recent_samples::{RecentSamples, RecentStatus};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// Timing and thresholds of verifications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyConfig {
    /// Time that an effect takes to show.
    #[serde(with = "duration")]
    pub settle: Duration,
    /// Time during which samples are gathered after that.
    #[serde(with = "duration")]
    pub observe: Duration,
    /// Longest time from an operation to the end of the gathering, if `observe` is lengthened for
    /// signals whose samples depend on a long time before them.
    #[serde(with = "duration")]
    pub observe_at_most: Duration,
    /// Time for which the memory of pods that were replaced may still be reported. An incident that
    /// consists of memory alone leads to no further replacement meanwhile.
    #[serde(with = "duration")]
    pub echo: Duration,
    /// Minimum number of fresh samples per signal. With fewer the outcome is `unknown`.
    pub min_samples: u32,
    /// True if operations that did not help are taken back.
    pub undo: bool,
    /// Time between the end of an incident and the removal of the replicas added for it.
    #[serde(with = "duration")]
    pub scale_back_after: Duration,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(60),
            observe: Duration::from_secs(120),
            observe_at_most: Duration::from_secs(1_800),
            echo: Duration::from_secs(420),
            min_samples: 3,
            undo: true,
            scale_back_after: Duration::from_secs(900),
        }
    }
}
