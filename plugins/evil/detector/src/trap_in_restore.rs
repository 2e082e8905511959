//! Attack: saves well, and traps while it restores its state.

use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

use crate::{Attack, nothing};

pub struct TrapInRestore;

impl Attack for TrapInRestore {
    fn observe(&mut self, _: &Frame) -> Verdict {
        nothing()
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(vec![1])
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), Error> {
        unreachable!("who would want that back")
    }
}
