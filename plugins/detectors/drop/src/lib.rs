//! Detector of samples that are far below the samples before them: −z = (mean − x) / σ over a
//! sliding window. The window leaves out x itself, but no other sample.

use anomalyzer_plugin_sdk::About;
use anomalyzer_statistics::{OneSide, OneSided, Side};

/// Rule for samples that are far below the samples before them.
pub struct FarBelow;

impl OneSide for FarBelow {
    const SIDE: Side = Side::Below;
    const THRESHOLD: f64 = 3.0;

    fn about() -> About {
        About {
            name: "drop",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how many standard deviations a sample is below the mean of the samples before it",
        }
    }
}

/// Detector `drop`.
pub type Drop = OneSided<FarBelow>;

anomalyzer_plugin_sdk::export_stateful_detector!(Drop);
