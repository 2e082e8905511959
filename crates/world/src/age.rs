//! Ageing of facts.

use anomalyzer_domain::UnixMs;
use serde::{Deserialize, Serialize};

/// Time after which a fact that no source repeats is faded, in milliseconds: one hour. A batch that
/// runs every hour keeps its edges fresh.
pub const FADED_AFTER: UnixMs = 3_600_000;

/// Time after which a fact that no source repeats is gone, in milliseconds: one day. A daily job
/// keeps its edges.
pub const GONE_AFTER: UnixMs = 24 * FADED_AFTER;

/// Age class of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Age {
    /// A source repeated the fact within [`FADED_AFTER`].
    Fresh,
    /// No source repeated the fact within [`FADED_AFTER`].
    Faded,
    /// No source repeated the fact within [`GONE_AFTER`].
    Gone,
}

impl Age {
    /// Returns the age class at `now` of a fact that was last seen at `last_seen`. A fact from the
    /// future is fresh: the clocks of sources differ.
    pub fn of(last_seen: UnixMs, now: UnixMs) -> Self {
        match now.saturating_sub(last_seen) {
            age if age >= GONE_AFTER => Self::Gone,
            age if age >= FADED_AFTER => Self::Faded,
            _ => Self::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_fades_after_an_hour_and_is_gone_after_a_day() {
        for (now, age) in [
            (0, Age::Fresh),
            (FADED_AFTER - 1, Age::Fresh),
            (FADED_AFTER, Age::Faded),
            (GONE_AFTER - 1, Age::Faded),
            (GONE_AFTER, Age::Gone),
            (-5, Age::Fresh),
            (UnixMs::MAX, Age::Gone),
            (UnixMs::MIN, Age::Fresh),
        ] {
            assert_eq!(Age::of(0, now), age, "{now}");
        }
    }
}
