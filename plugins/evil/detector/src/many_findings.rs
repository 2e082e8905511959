//! Attack: returns more findings than there are samples, each with a long reason.

use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector as wit;
use anomalyzer_plugin_sdk::{Frame, Verdict};

use crate::Attack;

pub struct ManyFindings;

impl Attack for ManyFindings {
    fn observe(&mut self, _: &Frame) -> Verdict {
        let finding = |sample| wit::Finding {
            sample,
            phase: wit::Phase::Onset,
            direction: wit::Direction::Above,
            score: 1.0,
            severity: 1.0,
            expected: None,
            reason: "high ".repeat(100),
        };
        Verdict {
            scores: vec![],
            findings: (0..5_000).map(finding).collect(),
        }
    }
}
