//! Attack: takes almost all the memory that it may have, and keeps it.

use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::{Attack, nothing};

const ALMOST_ALL: usize = 6 << 20;

#[derive(Default)]
pub struct Brim(Vec<u8>);

impl Attack for Brim {
    fn observe(&mut self, _: &Frame) -> Verdict {
        if self.0.is_empty() {
            self.0 = vec![1; ALMOST_ALL];
        }
        nothing()
    }
}
