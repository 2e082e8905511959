//! Attack: waits for seven weeks at a time.

use anomalyzer_plugin_sdk::{Outcome, Step, Target};

use crate::Attack;

pub struct WaitForever;

impl Attack for WaitForever {
    fn next(&mut self, _: &Target, _: Outcome) -> Step {
        Step::WaitMs(u32::MAX)
    }
}
