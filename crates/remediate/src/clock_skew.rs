//! Detects jumps of the wall clock by comparing it with a monotonic clock.
//!
//! After a jump ahead, an operation of a minute ago looks hours old, and the hourly budgets would
//! begin anew. The look-back windows are therefore extended by the jump. A jump back needs no
//! correction: past operations lie in the future then, and count.

use std::collections::VecDeque;

use anomalyzer_domain::{UnixMs, millis};
use anomalyzer_policy::HOUR;

/// Smallest difference that counts as a jump, in milliseconds. A smaller one comes from clock
/// adjustments or from a busy machine.
const MIN_JUMP_MS: i64 = 5_000;

/// Jumps of the last hour.
#[derive(Debug, Default)]
pub(super) struct ClockSkew {
    /// Last wall-clock and monotonic time.
    last: Option<(UnixMs, i64)>,
    /// Monotonic time and length of each jump.
    jumps: VecDeque<(i64, i64)>,
}

impl ClockSkew {
    /// Takes in both clocks. Returns how far the wall clock jumped ahead within the last hour, in
    /// milliseconds.
    pub(super) fn observe(&mut self, now: UnixMs, monotonic: i64) -> i64 {
        if let Some((last, last_monotonic)) = self.last.replace((now, monotonic)) {
            let ahead = now
                .saturating_sub(last)
                .saturating_sub(monotonic.saturating_sub(last_monotonic));
            if ahead > MIN_JUMP_MS {
                tracing::warn!(
                    ahead_ms = ahead,
                    "wall clock jumped ahead: extending the look-back windows"
                );
                self.jumps.push_back((monotonic, ahead));
            }
        }
        let hour = millis(HOUR);
        self.jumps
            .retain(|(at, _)| monotonic.saturating_sub(*at) <= hour);
        self.jumps
            .iter()
            .fold(0, |sum, (_, ahead)| sum.saturating_add(*ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ahead_counts_for_an_hour_and_one_back_does_not() {
        let mut skew = ClockSkew::default();
        assert_eq!(skew.observe(1_000_000, 0), 0);
        assert_eq!(skew.observe(1_060_100, 60_000), 0, "a little is no jump");
        assert_eq!(skew.observe(8_320_100, 120_000), 7_200_000);
        assert_eq!(skew.observe(1_200_000, 180_000), 7_200_000, "back again");
        assert_eq!(skew.observe(4_600_000, 3_580_000), 7_200_000);
        assert_eq!(skew.observe(4_741_000, 3_721_000), 0);
        assert_eq!(ClockSkew::default().observe(i64::MAX, i64::MIN), 0);
    }
}
