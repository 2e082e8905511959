//! Attack: asks to be called again at once, again and again, which would keep a thread busy.

use anomalyzer_plugin_sdk::{Outcome, Step, Target};

use crate::Attack;

pub struct ManyWaits;

impl Attack for ManyWaits {
    fn next(&mut self, _: &Target, _: Outcome) -> Step {
        Step::WaitMs(0)
    }
}
