//! Attack: behaves well until it is trusted, and traps on the third frame.

use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::{Attack, nothing};

#[derive(Default)]
pub struct Nth(u32);

impl Attack for Nth {
    fn observe(&mut self, _: &Frame) -> Verdict {
        self.0 += 1;
        assert!(self.0 < 3, "the third time is the charm");
        nothing()
    }
}
