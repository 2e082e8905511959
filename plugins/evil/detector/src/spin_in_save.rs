//! Is asked for its memory and does not come to an end.

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
