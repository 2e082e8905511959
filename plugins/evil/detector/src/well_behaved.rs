//! Harmless detector, for the victims that run beside the attacks. It reports the number of samples
//! that it has seen, so that a test notices a lost sample. It keeps the number over a restart.

use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector as wit;
use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

use crate::Attack;

#[derive(Default)]
pub struct WellBehaved {
    seen: u32,
}

impl Attack for WellBehaved {
    fn observe(&mut self, frame: &Frame) -> Verdict {
        self.seen += frame.values.len() as u32;
        let counted = wit::Finding {
            sample: 0,
            phase: wit::Phase::Ongoing,
            direction: wit::Direction::Above,
            score: f64::from(self.seen),
            severity: 0.0,
            expected: None,
            reason: String::new(),
        };
        Verdict {
            scores: vec![],
            findings: vec![counted],
        }
    }
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.seen.to_le_bytes().to_vec())
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), Error> {
        let seen = saved
            .try_into()
            .map_err(|_| Error::Invalid(format!("{} bytes are no number", saved.len())))?;
        self.seen = u32::from_le_bytes(seen);
        Ok(())
    }
}
