//! Attack: keeps a megabyte more with every frame.

use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::{Attack, nothing};

#[derive(Default)]
pub struct Hoard(Vec<Vec<u8>>);

impl Attack for Hoard {
    fn observe(&mut self, _: &Frame) -> Verdict {
        self.0.push(vec![1; 1 << 20]);
        nothing()
    }
}
