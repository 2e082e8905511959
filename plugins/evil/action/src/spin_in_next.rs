//! Attack: never returns its next step.

use anomalyzer_plugin_sdk::{Outcome, Step, Target};

use crate::Attack;

pub struct SpinInNext;

impl Attack for SpinInNext {
    fn next(&mut self, _: &Target, _: Outcome) -> Step {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}
