//! Detector of samples that are far above the samples before them: z = (x − mean) / σ over a
//! sliding window. The window leaves out x itself, but no other sample.

use anomalyzer_plugin_sdk::About;
use anomalyzer_statistics::{OneSide, OneSided, Side};

/// Rule for samples that are far above the samples before them.
pub struct FarAbove;

impl OneSide for FarAbove {
    const SIDE: Side = Side::Above;
    const THRESHOLD: f64 = 1.5;

    fn about() -> About {
        About {
            name: "spike",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how many standard deviations a sample is above the mean of the samples before it",
        }
    }
}

/// Detector `spike`.
pub type Spike = OneSided<FarAbove>;

anomalyzer_plugin_sdk::export_stateful_detector!(Spike);
