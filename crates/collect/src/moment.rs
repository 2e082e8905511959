//! A time on two clocks: the wall clock, which can jump, and a steady clock.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{UnixMs, millis};

/// Origin of the steady clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Difference of the clocks between two moments above which the wall clock has jumped, in
/// milliseconds. Corrections by NTP are smaller.
const MAX_DRIFT_MS: i64 = 5_000;

/// A point in time. The wall clock dates samples. The steady clock measures durations, because the
/// wall clock may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time of the wall clock.
    pub wall: UnixMs,
    /// Milliseconds of the steady clock since an arbitrary origin.
    pub steady: i64,
}

impl Moment {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self {
            wall: now_ms(),
            steady: millis(START.elapsed()),
        }
    }

    /// Returns the time since this moment.
    pub fn elapsed(self) -> Duration {
        self.instant().elapsed()
    }

    /// Returns the moment on the steady clock.
    pub fn instant(self) -> Instant {
        let after = Duration::from_millis(u64::try_from(self.steady).unwrap_or_default());
        START.checked_add(after).unwrap_or(*START)
    }

    /// Returns the milliseconds by which the wall clock was set since `before`, if it jumped.
    pub fn jump_since(self, before: Self) -> Option<i64> {
        let wall = self.wall.saturating_sub(before.wall);
        let jump = wall.saturating_sub(self.steady.saturating_sub(before.steady));
        (jump.saturating_abs() > MAX_DRIFT_MS).then_some(jump)
    }
}

#[cfg(test)]
impl From<i64> for Moment {
    /// Returns the moment at which both clocks show `at`.
    fn from(at: i64) -> Self {
        Self {
            wall: at,
            steady: at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_the_difference_of_the_clocks_and_a_pause_is_none() {
        let start = Moment::from(1_000_000);
        for (wall, steady, jump) in [
            (15_000, 15_000, None),
            (19_000, 15_000, None),
            (600_000, 600_000, None),
            (3_615_000, 15_000, Some(3_600_000)),
            (-3_585_000, 15_000, Some(-3_600_000)),
        ] {
            let later = Moment {
                wall: start.wall + wall,
                steady: start.steady + steady,
            };
            assert_eq!(later.jump_since(start), jump, "{wall}");
        }
        let wrong = |wall| Moment { wall, steady: 0 };
        assert!(wrong(i64::MAX).jump_since(wrong(i64::MIN)).is_some());
    }
}
