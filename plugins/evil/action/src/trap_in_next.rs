//! Attack: traps, with a last message that would forge a line of the log.

use anomalyzer_plugin_sdk::{Outcome, Step, Target, error};

use crate::Attack;

pub struct TrapInNext;

impl Attack for TrapInNext {
    fn next(&mut self, _: &Target, _: Outcome) -> Step {
        error("out of luck\n2026-01-01T00:00:00Z ERROR a forged line");
        panic!("out of luck")
    }
}
