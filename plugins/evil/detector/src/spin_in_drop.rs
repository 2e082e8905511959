//! Attack: never ends its destructor.

use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::{Attack, nothing, spin};

pub struct SpinInDrop;

impl Attack for SpinInDrop {
    fn observe(&mut self, _: &Frame) -> Verdict {
        nothing()
    }
}

impl Drop for SpinInDrop {
    fn drop(&mut self) {
        spin();
    }
}
