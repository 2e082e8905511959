//! Attack: makes resources that the host must track, and never returns one.

use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector as wit;
use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::{Attack, Monitor, nothing, well_behaved::WellBehaved};

pub struct Handles;

impl Attack for Handles {
    fn observe(&mut self, _: &Frame) -> Verdict {
        for _ in 0..100_000 {
            std::mem::forget(wit::Monitor::new(Monitor::of(WellBehaved::default())));
        }
        nothing()
    }
}
