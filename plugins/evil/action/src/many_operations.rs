//! Attack: asks for ten thousand operations, one after the other.

use anomalyzer_plugin_sdk::{Operation, Outcome, Step, Target};

use crate::Attack;

pub struct ManyOperations;

impl Attack for ManyOperations {
    fn next(&mut self, target: &Target, _: Outcome) -> Step {
        Step::Perform(Operation::Inspect(target.clone()))
    }
}
