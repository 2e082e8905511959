//! Attack: never returns from saving its state.

use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

use crate::{Attack, nothing, spin};

pub struct SpinInSave;

impl Attack for SpinInSave {
    fn observe(&mut self, _: &Frame) -> Verdict {
        nothing()
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        spin()
    }
}
