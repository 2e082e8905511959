//! Attack: writes to the log and never stops.

use anomalyzer_plugin_sdk::{Frame, Verdict, error};

use crate::Attack;

pub struct Flood;

impl Attack for Flood {
    fn observe(&mut self, _: &Frame) -> Verdict {
        loop {
            error("all is lost");
        }
    }
}
