//! The recent points of a series, and the growth of a counter.

use std::collections::VecDeque;
use std::time::Duration;

use anomalyzer_domain::{UnixMs, millis};

use super::super::moment::Moment;

/// Time that a sample counts as current if its own timestamp does not advance. The value is
/// Prometheus's default look-back delta.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// Maximum time by which a timestamp may be ahead of the clock. Prometheus drops such samples too.
const MAX_AHEAD: Duration = Duration::from_secs(600);

/// Share of the previous value above which a lower value is no restart. A restarted counter begins
/// near 0. A counter that falls by little was corrected: its value stands for no growth.
const RESTART_BELOW: f64 = 0.5;

/// One value of a series of one source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Time of the value on the clock of its series.
    pub at: i64,
    /// Value, finite for a counter. The value of a gauge may be any number.
    pub value: f64,
}

/// Clock that dates the points of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Clock {
    /// The steady clock at the scrape. A jump of the wall clock changes nothing.
    #[default]
    Scrape,
    /// Timestamps of the source, on its wall clock.
    Source,
}

/// Result of adding a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The sample is the newest point, or repeats it.
    Kept,
    /// The sample is older than the newest point, and is dropped.
    Late,
    /// The sample is too far in the future, and is dropped.
    Future,
}

/// The points of one series, oldest first, with strictly rising times.
#[derive(Clone, Debug, Default)]
pub struct Points {
    clock: Clock,
    points: VecDeque<Point>,
}

impl Points {
    /// Adds a sample that was scraped at `now`. `stamp` is the timestamp that the source gives it,
    /// if any.
    pub fn add(&mut self, stamp: Option<UnixMs>, value: f64, now: Moment) -> Added {
        let (clock, at) = match stamp {
            Some(stamp) => (Clock::Source, stamp),
            None => (Clock::Scrape, now.steady),
        };
        if clock == Clock::Source && at > now.wall.saturating_add(millis(MAX_AHEAD)) {
            return Added::Future;
        }
        if clock != self.clock {
            (self.clock, self.points) = (clock, VecDeque::new());
        }
        // Points in the future are of a clock that was set back since.
        let latest = at.max(self.at(now));
        while self.points.back().is_some_and(|newest| newest.at > latest) {
            self.points.pop_back();
        }
        match self.points.back() {
            Some(newest) if at.saturating_add(millis(STALE_AFTER)) < newest.at => {
                // The clock of the source was set back.
                self.points.clear();
            }
            Some(newest) if at < newest.at => return Added::Late,
            Some(newest) if at == newest.at => return Added::Kept,
            _ => {}
        }
        self.points.push_back(Point { at, value });
        Added::Kept
    }

    /// Drops the points that are older than `window`. Always keeps the newest point of the series.
    pub fn forget(&mut self, now: Moment, window: Duration) {
        let until = self.start(now, window);
        while self.points.len() > 1 && self.points.front().is_some_and(|point| point.at <= until) {
            self.points.pop_front();
        }
    }

    /// Returns true if the series has no point, because all of its samples were dropped.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Returns the newest point, if it still counts as current.
    pub fn current(&self, now: Moment) -> Option<Point> {
        let after = self.start(now, STALE_AFTER);
        self.points
            .back()
            .filter(|newest| newest.at > after)
            .copied()
    }

    /// Returns the growth of the counter within `window`.
    ///
    /// A value below the previous one is a reset, as in Prometheus: the counter then grew by its
    /// new value. Only the values decide, because the start time of a process may be computed anew
    /// from a clock that was set. In contrast to Prometheus, a fall by less than half of the value
    /// is no reset and no growth, because it would count the whole value of a counter that was
    /// corrected by one. This is otherwise Prometheus's `increase` without its extrapolation.
    /// Returns `None` with fewer than two points.
    pub fn growth(&self, now: Moment, window: Duration) -> Option<Growth> {
        let after = self.start(now, window);
        let seen = self
            .points
            .iter()
            .filter(|point| point.at > after && point.value.is_finite());
        let (mut first, mut last, mut by) = (None, None::<Point>, 0.0);
        for point in seen {
            first = first.or(Some(point.at));
            if let Some(last) = last {
                by += growth_between(last.value, point.value);
            }
            last = Some(*point);
        }
        let took = last?.at.saturating_sub(first?);
        (took > 0).then_some(Growth { by, took })
    }

    /// Returns `now` on the clock of the series.
    fn at(&self, now: Moment) -> i64 {
        match self.clock {
            Clock::Scrape => now.steady,
            Clock::Source => now.wall,
        }
    }

    fn start(&self, now: Moment, window: Duration) -> i64 {
        self.at(now).saturating_sub(millis(window))
    }
}

/// Returns the growth of a counter from one value to the next.
fn growth_between(last: f64, next: f64) -> f64 {
    if next >= last {
        next - last
    } else if next > last * RESTART_BELOW {
        0.0
    } else {
        next.max(0.0)
    }
}

/// Growth of a counter, and the milliseconds that it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    pub by: f64,
    pub took: i64,
}

impl Growth {
    /// Returns the growth per second.
    pub fn rate(&self) -> f64 {
        self.by * 1000.0 / self.took as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    /// A time of the wall clock.
    const WALL: i64 = 1_700_000_000_000;

    fn points(values: &[(i64, f64)]) -> Points {
        let mut points = Points::default();
        for &(at, value) in values {
            points.add(None, value, at.into());
        }
        points
    }

    /// Returns the rate over the values after `after`.
    fn rate(values: &[(i64, f64)], after: i64) -> Option<f64> {
        let window = Duration::from_millis((20_000 - after).unsigned_abs());
        let growth = points(values).growth(20_000.into(), window);
        growth.map(|growth| growth.rate())
    }

    #[test]
    fn a_rate_needs_two_points_in_the_window() {
        assert_eq!(rate(&[], 0), None);
        assert_eq!(rate(&[(1000, 5.0)], 0), None);
        assert_eq!(rate(&[(1000, 5.0), (3000, 9.0)], 0), Some(2.0));
        assert_eq!(rate(&[(1000, 5.0), (3000, 9.0)], 1000), None);
    }

    #[test]
    fn irregular_steps_and_repeated_times_do_not_change_a_rate() {
        assert_eq!(
            rate(&[(1000, 0.0), (1100, 1.0), (1100, 7.0), (6000, 50.0)], 0),
            Some(10.0)
        );
    }

    #[test]
    fn after_a_reset_the_counter_grew_by_its_value_and_a_correction_is_no_growth() {
        for (values, growth) in [
            (&[100.0, 110.0, 4.0][..], 14.0),
            (&[100.0, 110.0, 0.0], 10.0),
            // A counter that falls by one would otherwise have grown by a million.
            (&[1e6, 1e6 - 1.0, 1e6 + 9.0], 10.0),
            (&[1e6, 1e6 - 1.0, 1e6 - 2.0], 0.0),
            (&[1e15, 1e15 - 1000.0, 1e15], 1000.0),
            // Half or less of the value is a restart.
            (&[100.0, 50.0, 60.0], 60.0),
            (&[100.0, 51.0, 60.0], 9.0),
            // A counter below zero is none, and does not grow by falling.
            (&[-1.0, -5.0, -5.0], 0.0),
        ] {
            let values: Vec<_> = (1..)
                .map(|n| n * 1000)
                .zip(values.iter().copied())
                .collect();
            let growth_seen = points(&values).growth(4000.into(), Duration::from_secs(10));
            assert_eq!(
                growth_seen.map(|growth| growth.by),
                Some(growth),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_no_point() {
        assert_eq!(
            rate(&[(0, 0.0), (1000, f64::NAN), (2000, 4.0)], -1),
            Some(2.0)
        );
        assert_eq!(rate(&[(0, 0.0), (1000, f64::INFINITY)], -1), None);
    }

    #[test]
    fn a_wall_clock_that_is_set_loses_no_point_of_a_series_without_timestamps() {
        for jump in [-3_600_000, 3_600_000, 315_360_000_000, -WALL] {
            let mut points = Points::default();
            for round in 0..10_i64 {
                let set = if round >= 5 { jump } else { 0 };
                let now = Moment {
                    wall: WALL + round * 1000 + set,
                    steady: round * 1000,
                };
                assert_eq!(points.add(None, 10.0 * round as f64, now), Added::Kept);
                assert!(points.current(now).is_some());
                let growth = points.growth(now, Duration::from_secs(60));
                let by = (round > 0).then_some(10.0 * round as f64);
                assert_eq!(growth.map(|growth| growth.by), by);
            }
        }
    }

    #[test]
    fn timestamps_in_the_future_never_outlive_the_clock_that_made_them() {
        // Each case is the offset of the source's clock, in minutes, and the expected result.
        for (ahead, added) in [
            (0, Added::Kept),
            (4, Added::Kept),
            (10, Added::Kept),
            (11, Added::Future),
            (120, Added::Future),
            (i64::MAX / MINUTE - WALL / MINUTE - 1, Added::Future),
        ] {
            let mut points = Points::default();
            let wrong = WALL + ahead * MINUTE;
            assert_eq!(points.add(Some(wrong), 5.0, WALL.into()), added, "{ahead}");
            // The clock of the source is right again.
            let later = WALL + 1000;
            assert_eq!(points.add(Some(later), 50.0, later.into()), Added::Kept);
            let current = points.current(later.into());
            assert_eq!(current.map(|point| point.value), Some(50.0), "{ahead}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_holds_up_a_stamped_series_for_minutes_at_most() {
        for back in [6 * MINUTE, 60 * MINUTE, WALL] {
            let mut points = Points::default();
            points.add(Some(WALL), 5.0, WALL.into());
            // Only the clock of the source is set back.
            points.add(Some(WALL - back), 50.0, (WALL + 1000).into());
            assert_eq!(points.points.back().map(|point| point.value), Some(50.0));
            // The clock of this machine is set back too.
            let mut points = Points::default();
            points.add(Some(WALL), 5.0, WALL.into());
            let now = Moment::from(WALL - back);
            points.add(Some(now.wall), 50.0, now);
            assert_eq!(points.current(now).map(|point| point.value), Some(50.0));
        }
        let mut points = points(&[]);
        points.add(Some(WALL), 5.0, WALL.into());
        let late = points.add(Some(WALL - 1000), 4.0, WALL.into());
        assert_eq!((late, points.points.len()), (Added::Late, 1));
    }

    proptest! {
        #[test]
        fn a_counter_never_grows_by_less_than_nothing_and_forgetting_what_is_outside_changes_nothing(
            values in prop::collection::vec((0i64..10_000, 0.0f64..1e9), 0..20), window in 1u64..10_000,
        ) {
            let (now, window) = (10_000.into(), Duration::from_millis(window));
            let mut points = points(&values);
            let growth = points.growth(now, window);
            prop_assert!(growth.is_none_or(|growth| growth.by >= 0.0 && growth.took > 0));
            points.forget(now, window);
            prop_assert_eq!(points.growth(now, window), growth);
        }

        #[test]
        fn no_time_makes_it_panic(
            samples in prop::collection::vec((any::<Option<i64>>(), any::<f64>(), any::<i64>(), any::<i64>()), 0..9),
        ) {
            let mut points = Points::default();
            for (stamp, value, wall, steady) in samples {
                let now = Moment { wall, steady };
                points.add(stamp, value, now);
                points.growth(now, Duration::from_secs(60));
                points.current(now);
                points.forget(now, Duration::from_secs(60));
                prop_assert!(points.points.iter().is_sorted_by(|a, b| a.at < b.at));
            }
        }
    }
}
