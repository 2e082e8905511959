//! Computes the growth of a counter.

use std::collections::VecDeque;

use anomalyzer_domain::UnixMs;

/// One value of a series of one source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Time of the value.
    pub at: UnixMs,
    /// Value, finite for a counter. The value of a gauge may be any number.
    pub value: f64,
    /// Number of the process run ("life") that the point belongs to. Every counter restarts at 0
    /// between two runs, even if its value is already higher than before.
    pub life: u32,
}

/// The points of one series, oldest first, with strictly rising times.
#[derive(Clone, Debug, Default)]
pub struct Points(VecDeque<Point>);

impl Points {
    /// Adds a point. Ignores it if it is not later than the newest point, because it then holds
    /// nothing new.
    pub fn push(&mut self, point: Point) {
        if self.0.back().is_none_or(|newest| newest.at < point.at) {
            self.0.push_back(point);
        }
    }

    /// Drops the points at or before `until`. Always keeps the newest point of the series.
    pub fn forget(&mut self, until: UnixMs) {
        while self.0.len() > 1 && self.0.front().is_some_and(|point| point.at <= until) {
            self.0.pop_front();
        }
    }

    /// Returns the newest point.
    pub fn newest(&self) -> Option<Point> {
        self.0.back().copied()
    }

    /// Returns the growth of the counter after `after`.
    ///
    /// A value below the previous one is a reset, and so is the first value of another process run.
    /// After a reset the counter grew by its new value. This is Prometheus's `increase` without its
    /// extrapolation. Returns `None` with fewer than two points.
    pub fn growth(&self, after: UnixMs) -> Option<Growth> {
        let seen = self
            .0
            .iter()
            .filter(|point| point.at > after && point.value.is_finite());
        let (mut first, mut last, mut by) = (None, None::<Point>, 0.0);
        for point in seen {
            first = first.or(Some(point.at));
            if let Some(last) = last {
                let reset = point.life != last.life || point.value < last.value;
                by += if reset {
                    point.value
                } else {
                    point.value - last.value
                };
            }
            last = Some(*point);
        }
        let took = last?.at - first?;
        (took > 0).then_some(Growth { by, took })
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

    fn points(values: &[(UnixMs, f64, u32)]) -> Points {
        let mut points = Points::default();
        for &(at, value, life) in values {
            points.push(Point { at, value, life });
        }
        points
    }

    fn rate(values: &[(UnixMs, f64, u32)], after: UnixMs) -> Option<f64> {
        points(values).growth(after).map(|growth| growth.rate())
    }

    #[test]
    fn a_rate_needs_two_points_in_the_window() {
        assert_eq!(rate(&[], 0), None);
        assert_eq!(rate(&[(1000, 5.0, 0)], 0), None);
        assert_eq!(rate(&[(1000, 5.0, 0), (3000, 9.0, 0)], 0), Some(2.0));
        assert_eq!(rate(&[(1000, 5.0, 0), (3000, 9.0, 0)], 1000), None);
    }

    #[test]
    fn irregular_steps_and_repeated_times_do_not_change_a_rate() {
        assert_eq!(
            rate(
                &[
                    (1000, 0.0, 0),
                    (1100, 1.0, 0),
                    (1100, 7.0, 0),
                    (6000, 50.0, 0)
                ],
                0
            ),
            Some(10.0)
        );
    }

    #[test]
    fn after_a_reset_the_counter_grew_by_what_it_shows() {
        assert_eq!(
            rate(&[(0, 100.0, 0), (1000, 110.0, 0), (2000, 4.0, 0)], -1),
            Some(7.0)
        );
    }

    #[test]
    fn a_new_life_is_a_reset_even_if_the_counter_is_higher_already() {
        assert_eq!(rate(&[(0, 100.0, 0), (1000, 110.0, 1)], -1), Some(110.0));
    }

    #[test]
    fn a_value_that_is_no_number_is_no_point() {
        assert_eq!(
            rate(&[(0, 0.0, 0), (1000, f64::NAN, 0), (2000, 4.0, 0)], -1),
            Some(2.0)
        );
        assert_eq!(rate(&[(0, 0.0, 0), (1000, f64::INFINITY, 0)], -1), None);
    }

    proptest! {
        #[test]
        fn a_counter_never_grows_by_less_than_nothing_and_forgetting_what_is_outside_changes_nothing(
            values in prop::collection::vec((0i64..10_000, 0.0f64..1e9, 0u32..2), 0..20), after in -1i64..10_000,
        ) {
            let mut points = points(&values);
            let growth = points.growth(after);
            prop_assert!(growth.is_none_or(|growth| growth.by >= 0.0 && growth.took > 0));
            points.forget(after);
            prop_assert_eq!(points.growth(after), growth);
        }
    }
}
