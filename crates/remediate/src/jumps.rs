//! When the clock jumps ahead, what was done a minute ago looks as if it had been done long ago,
//! and everything that is counted by the hour would begin anew. So how far it jumped is found out
//! by a clock that doesn't, and added to how far is looked back. When it jumps back, what was done
//! lies in the future, and counts.

use std::collections::VecDeque;

use anomalyzer_domain::{UnixMs, millis};
use anomalyzer_policy::HOUR;

/// Less is the clock being set right, or a machine that was busy.
const LEAST: i64 = 5_000;

/// The jumps of the last hour.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    last: Option<(UnixMs, i64)>,
    /// When by the steady clock, and how far.
    seen: VecDeque<(i64, i64)>,
}

impl Jumps {
    /// How far the clock jumped ahead within an hour, in milliseconds. `steady` is the time of a
    /// clock that only ever goes on.
    pub(super) fn look(&mut self, now: UnixMs, steady: i64) -> i64 {
        if let Some((last, last_steady)) = self.last.replace((now, steady)) {
            let ahead = now
                .saturating_sub(last)
                .saturating_sub(steady.saturating_sub(last_steady));
            if ahead > LEAST {
                tracing::warn!(
                    ahead_ms = ahead,
                    "the clock jumped ahead: what counts by the hour is counted further back"
                );
                self.seen.push_back((steady, ahead));
            }
        }
        let hour = millis(HOUR);
        self.seen
            .retain(|(at, _)| steady.saturating_sub(*at) <= hour);
        self.seen
            .iter()
            .fold(0, |sum, (_, ahead)| sum.saturating_add(*ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ahead_counts_for_an_hour_and_one_back_does_not() {
        let mut jumps = Jumps::default();
        assert_eq!(jumps.look(1_000_000, 0), 0);
        assert_eq!(jumps.look(1_060_100, 60_000), 0, "a little is no jump");
        assert_eq!(jumps.look(8_320_100, 120_000), 7_200_000);
        assert_eq!(jumps.look(1_200_000, 180_000), 7_200_000, "back again");
        assert_eq!(jumps.look(4_600_000, 3_580_000), 7_200_000);
        assert_eq!(jumps.look(4_741_000, 3_721_000), 0);
        assert_eq!(Jumps::default().look(i64::MAX, i64::MIN), 0);
    }
}
