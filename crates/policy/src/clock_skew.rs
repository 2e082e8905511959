//! The true age of recorded times, although the wall clock may jump.
//!
//! After a jump ahead, an operation of a minute ago looks hours old, and the hourly budgets would
//! begin anew. After a jump back, it lies in the future, and would count until that time comes.
//! Comparing the wall clock with a monotonic clock splits the life of the process into epochs, in
//! each of which the wall clock ran evenly.

use std::collections::VecDeque;

use anomalyzer_domain::UnixMs;

/// Smallest difference that counts as a jump, in milliseconds. A smaller one comes from clock
/// adjustments or from a busy machine.
const MIN_JUMP_MS: i64 = 5_000;
/// Maximum number of epochs. The oldest are forgotten.
const MAX_EPOCHS: usize = 64;

/// Period in which the wall clock ran evenly.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// Wall-clock and monotonic time at its begin.
    wall: UnixMs,
    monotonic: i64,
}

impl Epoch {
    /// Returns the monotonic time at which the wall clock showed `wall`.
    fn monotonic_at(self, wall: UnixMs) -> i64 {
        let since = wall.saturating_sub(self.wall);
        self.monotonic.saturating_add(since)
    }

    /// Returns the wall-clock time at a monotonic time.
    fn wall_at(self, monotonic: i64) -> UnixMs {
        let since = monotonic.saturating_sub(self.monotonic);
        self.wall.saturating_add(since)
    }
}

/// Epochs of the wall clock, with the last time of both clocks.
#[derive(Clone, Debug, Default)]
pub struct ClockSkew {
    /// Epochs, each with the monotonic time by which it had ended. The last one has not.
    epochs: VecDeque<(Epoch, Option<i64>)>,
    now: UnixMs,
    monotonic: i64,
}

impl ClockSkew {
    /// Takes in both clocks. Returns the distance of a jump since the last call, in milliseconds,
    /// if the wall clock jumped.
    pub fn observe(&mut self, now: UnixMs, monotonic: i64) -> Option<i64> {
        let (last, last_monotonic) = (self.now, self.monotonic);
        (self.now, self.monotonic) = (now, monotonic);
        let elapsed = monotonic.saturating_sub(last_monotonic);
        let jump = now.saturating_sub(last).saturating_sub(elapsed);
        if self.epochs.is_empty() {
            self.begin(now, monotonic);
            return None;
        }
        if jump.saturating_abs() <= MIN_JUMP_MS {
            return None;
        }
        if let Some((_, end)) = self.epochs.back_mut() {
            *end = Some(monotonic);
        }
        // The jump may have come right after the last call.
        self.begin(now.saturating_sub(elapsed), last_monotonic);
        Some(jump)
    }

    fn begin(&mut self, wall: UnixMs, monotonic: i64) {
        self.epochs.push_back((Epoch { wall, monotonic }, None));
        if self.epochs.len() > MAX_EPOCHS {
            self.epochs.pop_front();
        }
    }

    /// Returns the least age that something with this recorded time can have, in milliseconds.
    /// Returns None if the time lies in the future, so that it was recorded by an earlier process
    /// whose clock was ahead.
    pub fn age(&self, recorded: UnixMs) -> Option<i64> {
        let in_epochs = self.epochs.iter().filter_map(|(epoch, end)| {
            let at = epoch.monotonic_at(recorded);
            let end = end.unwrap_or(self.monotonic);
            (epoch.monotonic..=end).contains(&at).then_some(at)
        });
        let before_all = self
            .epochs
            .front()
            .filter(|(first, _)| recorded <= first.wall)
            .map(|(first, _)| first.monotonic_at(recorded));
        let by_monotonic = in_epochs
            .chain(before_all)
            .map(|at| self.monotonic.saturating_sub(at));
        let by_wall = (recorded <= self.now).then(|| self.now.saturating_sub(recorded));
        by_monotonic.chain(by_wall).min()
    }

    /// Returns the ranges of recorded times whose age is at most `length` milliseconds. They do not
    /// overlap.
    pub fn recent(&self, length: i64) -> Vec<(UnixMs, UnixMs)> {
        let since = self.monotonic.saturating_sub(length);
        let in_epochs = self.epochs.iter().map(|(epoch, end)| {
            let begin = epoch.monotonic.max(since);
            (
                epoch.wall_at(begin),
                epoch.wall_at(end.unwrap_or(self.monotonic)),
            )
        });
        let before_all = self
            .epochs
            .front()
            .map(|(first, _)| (first.wall_at(since), first.wall));
        let mut ranges: Vec<_> = in_epochs
            .chain(before_all)
            .chain([(self.now.saturating_sub(length), self.now)])
            .filter(|(from, to)| from <= to)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(UnixMs, UnixMs)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR: i64 = 365 * 24 * 3_600_000;

    #[test]
    fn an_age_is_the_true_one_over_jumps_ahead_and_back() {
        let mut skew = ClockSkew::default();
        assert_eq!(skew.observe(1_000_000, 0), None);
        assert_eq!(skew.observe(1_060_100, 60_000), None, "a little is no jump");
        assert_eq!(skew.observe(8_320_100, 120_000), Some(7_200_000));
        assert_eq!(skew.age(1_060_100), Some(59_900), "before the jump");
        assert_eq!(skew.age(990_000), Some(130_000), "before the start");
        assert_eq!(skew.observe(1_180_100, 180_000), Some(-7_200_000));
        assert_eq!(skew.age(8_320_100), Some(60_000), "while it was ahead");
        assert_eq!(skew.age(1_180_100), Some(0));
        assert_eq!(
            skew.age(1_180_100 + 10 * YEAR),
            None,
            "of an earlier process"
        );
        assert_eq!(ClockSkew::default().observe(i64::MAX, i64::MIN), None);
    }

    #[test]
    fn a_clock_that_was_behind_at_the_start_forgets_nothing() {
        let mut skew = ClockSkew::default();
        skew.observe(0, 0);
        skew.observe(10 * YEAR, 60_000);
        assert_eq!(skew.age(10 * YEAR - 30_000), Some(30_000));
        assert_eq!(
            skew.age(10 * YEAR - 600_000),
            Some(600_000),
            "of an earlier process"
        );
    }

    proptest! {
        #[test]
        fn recent_times_are_those_with_a_small_age(
            steps in proptest::collection::vec((0_i64..100_000, -200_000_i64..200_000), 1..10),
            length in 0_i64..300_000, recorded in -500_000_i64..1_500_000,
        ) {
            let (mut skew, mut wall, mut monotonic) = (ClockSkew::default(), 0, 0);
            for (pass, jump) in steps {
                skew.observe(wall, monotonic);
                (wall, monotonic) = (wall + pass + jump, monotonic + pass);
            }
            skew.observe(wall, monotonic);
            let recent = skew.recent(length);
            let within = recent.iter().any(|(from, to)| (*from..=*to).contains(&recorded));
            prop_assert_eq!(within, skew.age(recorded).is_some_and(|age| age <= length));
            prop_assert!(recent.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
