//! Plausibility check for times from outside. One sample from the far future would make every later
//! sample of its series late.

use super::DecodeError;
use anomalyzer_domain::UnixMs;

/// Latest accepted time: 9999-12-31T23:59:59.999Z.
pub(super) const LATEST: UnixMs = 253_402_300_799_999;
/// Maximum lead of another producer's clock over this one, in milliseconds.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// Range of accepted times: from 1970 to the year 9999, and at most five minutes ahead of the
/// clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedTime {
    latest: UnixMs,
}

impl AcceptedTime {
    /// Creates the range of accepted times at the time `now`.
    pub const fn at(now: UnixMs) -> Self {
        let latest = now.saturating_add(AHEAD_MS);
        Self {
            latest: if latest > LATEST { LATEST } else { latest },
        }
    }

    /// Returns the latest accepted time.
    pub const fn latest(self) -> UnixMs {
        self.latest
    }

    /// Returns the time if it is accepted. `what` names the item that has the time.
    #[inline]
    pub(super) fn check(self, what: &'static str, at: UnixMs) -> Result<UnixMs, DecodeError> {
        if (0..=self.latest).contains(&at) {
            Ok(at)
        } else {
            Err(Self::refuse(what, at))
        }
    }

    #[cold]
    fn refuse(what: &'static str, at: UnixMs) -> DecodeError {
        let why = match at {
            0..=LATEST => "more than five minutes ahead of the clock here: set the clocks right",
            _ => "outside of the years 1970 to 9999: write milliseconds since 1970",
        };
        DecodeError::Time { what, at, why }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_believed_from_1970_to_five_minutes_from_now() {
        let now = 1_700_000_000_000;
        let believed = AcceptedTime::at(now);
        for at in [0, now, now + 300_000] {
            assert_eq!(believed.check("a sample", at), Ok(at));
        }
        let refused = |at| believed.check("a sample", at).unwrap_err().to_string();
        assert_eq!(
            refused(now + 300_001),
            "a sample is at 1700000300001 ms, which is more than five minutes ahead of the clock here: set the clocks right"
        );
        for at in [-1, i64::MIN, LATEST + 1, i64::MAX] {
            assert!(refused(at).contains("1970 to 9999"), "{}", refused(at));
        }
    }

    proptest! {
        #[test]
        fn no_time_and_no_clock_make_it_panic(now in any::<i64>(), at in any::<i64>()) {
            if let Ok(at) = AcceptedTime::at(now).check("a sample", at) {
                prop_assert!((0..=LATEST).contains(&at) && at <= now.saturating_add(AHEAD_MS));
            }
        }
    }
}
