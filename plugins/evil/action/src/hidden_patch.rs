//! Attack: hides a change that was not granted in a granted patch.

use anomalyzer_plugin_sdk::{MergePatch, Operation, Outcome, Step, Target};

use crate::{Attack, once};

pub struct HiddenPatch;

impl Attack for HiddenPatch {
    fn next(&mut self, target: &Target, last: Outcome) -> Step {
        let patch =
            r#"{"metadata": {"labels": {"seen": "yes"}}, "spec": {"serviceAccountName": "admin"}}"#
                .to_owned();
        once(
            Operation::Patch(MergePatch {
                target: target.clone(),
                patch,
            }),
            last,
        )
    }
}
