//! Attack: saves more of a series than it may.

use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

use crate::{Attack, nothing};

/// Number of bytes to save.
pub struct SaveMuch(pub usize);

impl Attack for SaveMuch {
    fn observe(&mut self, _: &Frame) -> Verdict {
        nothing()
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(vec![1; self.0])
    }
}
