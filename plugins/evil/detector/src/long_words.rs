//! Attack: writes one log message of megabytes.

use anomalyzer_plugin_sdk::{Frame, Verdict, error};

use crate::{Attack, nothing};

pub struct LongWords;

impl Attack for LongWords {
    fn observe(&mut self, _: &Frame) -> Verdict {
        error(&"a".repeat(3 << 20));
        nothing()
    }
}
