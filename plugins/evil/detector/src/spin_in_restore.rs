//! Attack: saves well, and never returns from restoring its state.

use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

use crate::{Attack, nothing, spin};

pub struct SpinInRestore;

impl Attack for SpinInRestore {
    fn observe(&mut self, _: &Frame) -> Verdict {
        nothing()
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(vec![1])
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), Error> {
        spin()
    }
}
