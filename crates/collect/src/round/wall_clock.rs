//! The wall clock from one round to the next: recognises that it was set back.

use anomalyzer_domain::UnixMs;

use crate::moment::Moment;

/// Shortest step back of the wall clock, in milliseconds, after which all series begin anew.
/// Consumers drop late samples. After a shorter step they accept samples again soon enough.
const MIN_SET_BACK_MS: i64 = 10_000;
/// Longest step back that loses samples instead.
const MAX_SET_BACK_MS: i64 = 300_000;
/// Number of rounds of samples that may be lost to a step back.
const MAX_LOST_ROUNDS: i64 = 4;

/// The wall clock of the rounds so far.
#[derive(Clone, Debug, Default)]
pub struct WallClock {
    /// Time of the last round, and the latest wall time since the series began.
    last: Option<(Moment, UnixMs)>,
}

impl WallClock {
    /// Returns true if the wall clock was set back so far that consumers would drop the samples of
    /// open series for a long time.
    pub fn is_set_back(&mut self, now: Moment) -> bool {
        let Some((last, latest)) = self.last else {
            self.last = Some((now, now.wall));
            return false;
        };
        let round = now.steady.saturating_sub(last.steady);
        let lost = round.saturating_mul(MAX_LOST_ROUNDS);
        let lost = lost.clamp(MIN_SET_BACK_MS, MAX_SET_BACK_MS);
        let is_set_back = now.wall < latest.saturating_sub(lost);
        let latest = match is_set_back {
            true => now.wall,
            false => latest.max(now.wall),
        };
        self.last = Some((now, latest));
        is_set_back
    }
}
