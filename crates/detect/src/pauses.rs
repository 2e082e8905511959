//! Times in which the engine could see nothing: it stood still itself, the collector did, or no
//! sample of the collector arrived. The sources were not silent then, and nothing was calm.

use std::collections::VecDeque;

use anomalyzer_common::pause_watch::Pause;
use anomalyzer_domain::UnixMs;

/// Maximum number of remembered pauses. The oldest is forgotten first.
const MAX_PAUSES: usize = 64;
/// Number of remembered gaps between two arrivals.
const MAX_GAPS: usize = 16;
/// Shortest silence of the collector that counts, in milliseconds.
const MIN_SILENCE_MS: i64 = 10_000;
/// Multiple of the usual gap above which the collector is silent.
const SILENT_GAPS: i64 = 3;

/// The pauses that are excused, in the order of their times.
#[derive(Clone, Debug, Default)]
pub(super) struct ExcusedTime(VecDeque<Pause>);

impl ExcusedTime {
    /// Excuses a pause. The engine and the collector may report one pause both.
    pub(super) fn excuse(&mut self, mut pause: Pause) {
        self.0.retain(|known| {
            let is_apart = known.to < pause.from || pause.to < known.from;
            if !is_apart {
                pause.from = pause.from.min(known.from);
                pause.to = pause.to.max(known.to);
            }
            is_apart
        });
        let at = self.0.partition_point(|known| known.from < pause.from);
        self.0.insert(at, pause);
        if self.0.len() > MAX_PAUSES {
            self.0.pop_front();
        }
    }

    /// Returns the milliseconds from `since` to `now`, without the pauses between them.
    pub(super) fn passed(&self, since: UnixMs, now: UnixMs) -> i64 {
        let excused = self.0.iter().map(|pause| {
            let overlap = pause.to.min(now).saturating_sub(pause.from.max(since));
            overlap.max(0)
        });
        let excused = excused.fold(0, i64::saturating_add);
        now.saturating_sub(since).saturating_sub(excused)
    }
}

/// Silence of the collector: its samples arrived, and do not arrive any more. It stands still, or
/// the bus does.
#[derive(Clone, Debug, Default)]
pub(super) struct CollectorSilence {
    heard_at: Option<UnixMs>,
    /// The last gaps between two arrivals, in milliseconds.
    gaps: VecDeque<i64>,
}

impl CollectorSilence {
    /// Takes the arrival of samples of the collector. Returns the silence before, if it was long.
    pub(super) fn hear(&mut self, now: UnixMs) -> Option<Pause> {
        let end = self.end();
        if let Some(heard_at) = self.heard_at.replace(now) {
            if self.gaps.len() == MAX_GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(now.saturating_sub(heard_at).max(0));
        }
        let from = end.filter(|end| *end < now)?;
        Some(Pause { from, to: now })
    }

    /// Returns the time up to which the engine knows what happened: `now`, unless the collector is
    /// silent.
    pub(super) fn known_until(&self, now: UnixMs) -> UnixMs {
        self.end().map_or(now, |end| end.min(now))
    }

    /// Returns the time at which the silence begins if no sample arrives until then. The largest
    /// gap does not count as usual, because it may have been a silence.
    fn end(&self) -> Option<UnixMs> {
        let mut gaps: Vec<i64> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let usual = gaps.len().checked_sub(2).map(|at| gaps[at])?;
        let allowed = usual.saturating_mul(SILENT_GAPS).max(MIN_SILENCE_MS);
        Some(self.heard_at?.saturating_add(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_pauses_between_two_times_do_not_count() {
        let mut time = ExcusedTime::default();
        time.excuse(Pause { from: 30, to: 40 });
        time.excuse(Pause { from: 10, to: 20 });
        for (since, now, passed) in [
            (0, 50, 30),
            (0, 10, 10),
            (15, 35, 10),
            (20, 30, 10),
            (12, 18, 0),
            (50, 60, 10),
            (60, 50, -10),
        ] {
            assert_eq!(time.passed(since, now), passed, "{since} to {now}");
        }
    }

    #[test]
    fn a_pause_that_is_reported_twice_counts_once() {
        for pauses in [
            vec![(10, 20), (10, 20)],
            vec![(10, 15), (12, 20), (11, 13)],
            vec![(15, 20), (10, 15)],
            vec![(10, 12), (18, 20), (9, 21)],
        ] {
            let mut time = ExcusedTime::default();
            for (from, to) in pauses.clone() {
                time.excuse(Pause { from, to });
            }
            let excused = pauses.iter().map(|it| it.1).max().unwrap_or(0)
                - pauses.iter().map(|it| it.0).min().unwrap_or(0);
            assert_eq!(time.passed(0, 100), 100 - excused, "{pauses:?}");
        }
    }

    #[test]
    fn a_collector_that_is_silent_stops_the_time_and_a_slower_one_does_not() {
        let mut silence = CollectorSilence::default();
        assert_eq!(
            silence.known_until(1_000_000),
            1_000_000,
            "nothing is usual yet"
        );
        for round in 0..10 {
            assert_eq!(silence.hear(round * 15_000), None, "{round}");
        }
        // The last arrival was at 135 s. Three gaps later the collector is silent.
        assert_eq!(silence.known_until(150_000), 150_000);
        assert_eq!(silence.known_until(500_000), 180_000);
        let silent = Pause {
            from: 180_000,
            to: 500_000,
        };
        assert_eq!(silence.hear(500_000), Some(silent));
        assert_eq!(silence.hear(515_000), None);
        assert_eq!(
            silence.known_until(900_000),
            560_000,
            "the silence is not usual"
        );
        // The interval was raised: the second long gap is usual.
        assert!(silence.hear(815_000).is_some());
        assert!(
            silence
                .hear(1_115_000)
                .is_none_or(|pause| pause.from >= 860_000)
        );
        assert_eq!(silence.hear(1_415_000), None);
    }

    #[test]
    fn samples_in_quick_succession_do_not_make_a_short_gap_a_silence() {
        let mut silence = CollectorSilence::default();
        for at in 0..100 {
            silence.hear(at);
        }
        assert_eq!(silence.known_until(9_000), 9_000);
    }

    proptest! {
        #[test]
        fn no_time_makes_it_panic_and_pauses_only_shorten(times in prop::collection::vec(any::<i64>(), 4..300)) {
            let (mut time, mut silence) = (ExcusedTime::default(), CollectorSilence::default());
            for pair in times.windows(2) {
                time.excuse(Pause { from: pair[0].min(pair[1]), to: pair[0].max(pair[1]) });
                silence.hear(pair[0]);
                prop_assert!(silence.known_until(pair[1]) <= pair[1]);
            }
            prop_assert!(time.0.len() <= MAX_PAUSES);
            prop_assert!(time.0.iter().zip(time.0.iter().skip(1)).all(|(a, b)| a.to < b.from));
            let (since, now) = (times[0], times[1]);
            prop_assert!(time.passed(since, now) <= now.saturating_sub(since));
        }
    }
}
