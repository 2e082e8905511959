//! Attack: asks for an operation that it declared as a need and that was not granted.

use anomalyzer_plugin_sdk::{Operation, Outcome, Step, Target};

use crate::{Attack, once};

pub struct NotGranted;

impl Attack for NotGranted {
    fn next(&mut self, target: &Target, last: Outcome) -> Step {
        once(Operation::Restart(target.clone()), last)
    }
}
