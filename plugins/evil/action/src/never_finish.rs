//! Attack: inspects and waits in turn, and never ends.

use anomalyzer_plugin_sdk::{Operation, Outcome, Step, Target};

use crate::Attack;

#[derive(Default)]
pub struct NeverFinish {
    looked: bool,
}

impl Attack for NeverFinish {
    fn next(&mut self, target: &Target, _: Outcome) -> Step {
        self.looked = !self.looked;
        if self.looked {
            Step::Perform(Operation::Inspect(target.clone()))
        } else {
            Step::WaitMs(20)
        }
    }
}
