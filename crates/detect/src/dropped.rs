//! Counters of the input that the engine drops, and the share of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use anomalyzer_domain::UnixMs;

/// Time over which a share is taken.
const WINDOW_MS: i64 = 60 * 1000;
/// Minimum number of dropped items for a share. A few are no reason to worry.
const MIN_DROPPED: u64 = 5;
/// The share is reported from one in this number of items on.
const ONE_IN: u64 = 10;

/// Counters of dropped input, shared by the engine and the API.
#[derive(Debug, Default, Serialize)]
pub struct DroppedCounters {
    /// Messages of signals that are not configured, beyond the maximum number of such signals.
    pub messages: AtomicU64,
    /// Reports of absent sources, beyond the maximum number of absent sources.
    pub silences: AtomicU64,
    /// Messages that were set aside, because they are unreadable or their times are not plausible.
    pub unreadable: AtomicU64,
}

impl DroppedCounters {
    /// Counts messages of a signal beyond the maximum `max`, and logs the first time.
    pub(super) fn count_messages(&self, signal: &str, messages: u64, max: usize) {
        if self.messages.fetch_add(messages, Relaxed) == 0 {
            tracing::warn!(
                signal,
                max,
                "dropping messages: more signals arrive that are not configured than the maximum"
            );
        }
    }
}

/// A large share of dropped items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Number of dropped items in the last window.
    pub dropped: u64,
    /// Number of all items in that window.
    pub of: u64,
}

/// Share of dropped items, window by window.
#[derive(Debug, Default)]
pub(super) struct DropShare {
    /// Beginning of the window. None before the first item.
    began: Option<UnixMs>,
    taken: u64,
    dropped: u64,
    last: Option<Dropped>,
}

impl DropShare {
    /// Counts items at time `now`. A time before the beginning of the window begins another one,
    /// because a clock was set back.
    pub(super) fn count(&mut self, now: UnixMs, taken: u64, dropped: u64) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_sub(began);
        if !(0..WINDOW_MS).contains(&age) {
            let of = self.taken.saturating_add(self.dropped);
            let is_large = self.dropped >= MIN_DROPPED && self.dropped.saturating_mul(ONE_IN) >= of;
            self.last = is_large.then_some(Dropped {
                dropped: self.dropped,
                of,
            });
            (self.began, self.taken, self.dropped) = (Some(now), 0, 0);
        }
        self.taken = self.taken.saturating_add(taken);
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// Returns the share of the last window, if it is large.
    pub(super) fn large(&self) -> Option<Dropped> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the reported share after windows of ten counts each.
    fn after(windows: &[(u64, u64)]) -> Option<(u64, u64)> {
        let mut share = DropShare::default();
        let step = WINDOW_MS / 10;
        let counts = windows.iter().flat_map(|window| [*window; 10]);
        for ((taken, dropped), at) in counts.zip(0..) {
            share.count(at * step, taken, dropped);
        }
        share.count(windows.len() as i64 * WINDOW_MS, 0, 0);
        share.large().map(|it| (it.dropped, it.of))
    }

    #[test]
    fn a_share_of_a_tenth_is_large_until_a_window_is_well() {
        for (windows, expected) in [
            (&[(9, 1)][..], Some((10, 100))),
            (&[(10, 1)], None),
            (&[(0, 1)], Some((10, 10))),
            (&[(0, 0)], None),
            (&[(0, 9), (99, 1)], None),
            (&[(99, 1), (0, 9)], Some((90, 90))),
        ] {
            assert_eq!(after(windows), expected, "{windows:?}");
        }
    }

    #[test]
    fn a_few_dropped_items_are_not_reported() {
        let mut share = DropShare::default();
        share.count(0, 0, MIN_DROPPED - 1);
        share.count(WINDOW_MS, 0, 0);
        assert_eq!(share.large(), None);
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_hold_the_share_for_years() {
        let mut share = DropShare::default();
        share.count(i64::MAX, 0, 100);
        share.count(0, 100, 0);
        assert!(share.large().is_some());
        share.count(WINDOW_MS, 0, 0);
        assert_eq!(share.large(), None);
    }
}
