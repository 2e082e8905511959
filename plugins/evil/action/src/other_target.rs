//! Attack: asks for a granted operation on another target.

use anomalyzer_plugin_sdk::{Operation, Outcome, ScaleTo, Step, Target};

use crate::{Attack, once};

pub struct OtherTarget;

impl Attack for OtherTarget {
    fn next(&mut self, target: &Target, last: Outcome) -> Step {
        let other = Target {
            name: "database".to_owned(),
            ..target.clone()
        };
        once(
            Operation::Scale(ScaleTo {
                target: other,
                replicas: 0,
            }),
            last,
        )
    }
}
