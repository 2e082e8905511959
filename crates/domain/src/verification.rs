//! Result of a verification: whether the operations of a decision helped.

use serde::{Deserialize, Serialize};

use super::{UnixMs, time::as_rfc3339};

/// Outcome of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum VerificationOutcome {
    /// The value is back in the expected range.
    Improved,
    /// The value is as far out as before.
    NotImproved,
    /// The value is further out than before.
    Worse,
    /// There are too few fresh samples.
    Unknown,
}

impl VerificationOutcome {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Outcome.
    pub outcome: VerificationOutcome,
    /// Time of the judgement.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Number of fresh samples.
    pub samples: u32,
    /// Reason, with figures.
    pub reason: String,
    /// Control group. `None` if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// Control group: other targets with an incident at the time of acting, on which nothing was
/// changed. If all of them recovered too, the action may not be the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Size of the group.
    pub left_alone: u32,
    /// Number of targets whose incident was over at the time of the judgement.
    pub better: u32,
}

#[cfg(test)]
mod tests {
    use super::VerificationOutcome;
    use crate::testing::assert_names;

    #[test]
    fn the_names_are_those_on_the_wire() {
        assert_names::<VerificationOutcome>(&["improved", "not_improved", "worse", "unknown"]);
    }
}
