//! Leader clustering of a series: prototypes of the shape of its last samples.

use serde::{Deserialize, Serialize};

/// Maximum number of prototypes (K).
const PROTOTYPES: usize = 48;
/// Number of prototypes for which room is made at a time.
const PROTOTYPES_PER_GROWTH: usize = 16;
/// Distance from all prototypes, as a share of the scale, beyond which a shape becomes a new
/// prototype.
pub(crate) const NEW_PROTOTYPE_DISTANCE: f64 = 0.05;
/// Divisor of the step by which a prototype moves towards a shape that it explains: a fiftieth.
const FOLLOW: i32 = 50;
/// Age from which a prototype is old, in samples. A younger prototype is part of the present
/// anomaly and does not explain it away.
const OLD_AGE: u32 = 100;

/// Leader over one figure y. f = (least, largest, mean) of the last w values of y. The score is the
/// distance of f from the nearest of K prototypes: d = min_k ‖f − c_k‖ / (√3·S), with S the scale
/// of y. If d > 0.05, f becomes a prototype. If there is no room, it replaces the prototype that
/// was not needed for longest. Otherwise the nearest prototype moves towards f by a fiftieth. All
/// values are seen through a [lens](crate::lens).
#[derive(Serialize, Deserialize)]
pub(crate) struct Leader {
    /// Ring of the last w values.
    values: Vec<i32>,
    sum: i64,
    /// Smallest and largest of these values.
    low: i32,
    high: i32,
    window: u8,
    oldest: u8,
    /// Means of the prototypes, sorted. The search skips each prototype whose mean alone is further
    /// away than the nearest prototype found.
    means: Vec<i32>,
    /// Other parts of the prototypes, in the order of `means`.
    prototypes: Vec<Prototype>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Prototype {
    low: i32,
    high: i32,
    /// Number of the last sample that it explained, and of the sample that it was made from.
    used: u32,
    born: u32,
}

/// Shape of the last samples.
#[derive(Clone, Copy)]
struct Looks {
    low: i32,
    high: i32,
    mean: i32,
}

impl Leader {
    pub(crate) fn new(window: u8) -> Self {
        Self {
            values: Vec::new(),
            sum: 0,
            low: i32::MAX,
            high: i32::MIN,
            window,
            oldest: 0,

            means: Vec::new(),
            prototypes: Vec::new(),
        }
    }

    /// Returns true if the saved state can belong to a leader with that window.
    pub(crate) fn fits(&self, window: u8) -> bool {
        let small = |value: &i32| value.unsigned_abs() <= 1 << 29;
        self.window == window
            && self.oldest < window
            && self.values.len() <= usize::from(window)
            && self.sum == self.values.iter().copied().map(i64::from).sum::<i64>()
            && self.prototypes.len() <= PROTOTYPES
            && self.means.len() == self.prototypes.len()
            && self.means.is_sorted()
            && self.values.iter().chain(&self.means).all(small)
            && (self.values.is_empty() || (small(&self.low) && small(&self.high)))
            && self
                .prototypes
                .iter()
                .all(|prototype| small(&prototype.low) && small(&prototype.high))
    }

    /// Adds a value and returns the distance of the last values from all prototypes. A distance
    /// above 0.05 is new. Without prototypes, the distance is infinite. `unit` is 3 S², or 0 while
    /// the series is constant.
    #[inline]
    pub(crate) fn observe(&mut self, now: u32, value: i32, unit: f64) -> f64 {
        self.push(value);
        if unit <= 0.0 || !self.is_full() {
            return 0.0;
        }
        let looks = self.looks();
        let Some((nearest, square)) = self.nearest(looks) else {
            self.learn(now, looks);
            return f64::INFINITY;
        };
        let distance = (square as f64 / unit).sqrt();
        if distance > NEW_PROTOTYPE_DISTANCE {
            self.learn(now, looks);
            return distance;
        }
        self.follow(nearest, now, looks);
        distance
    }

    /// Returns the distance from the prototypes that were known before the present anomaly began.
    pub(crate) fn distance_from_old(&self, now: u32, unit: f64) -> f64 {
        if unit <= 0.0 || !self.is_full() {
            return 0.0;
        }
        let looks = self.looks();
        let all = self.means.iter().zip(&self.prototypes);
        let old = all.filter(|(_, prototype)| now.wrapping_sub(prototype.born) >= OLD_AGE);
        let least = old
            .map(|(mean, prototype)| looks.square(*mean, prototype))
            .min();
        least.map_or(f64::INFINITY, |least| (least as f64 / unit).sqrt())
    }

    /// Returns the index of the nearest prototype and the square of its distance. Searches from the
    /// place of the mean to both sides, and stops where all other prototypes are too far.
    #[inline]
    fn nearest(&self, looks: Looks) -> Option<(usize, i64)> {
        let off = |mean: i32| {
            let off = i64::from(looks.mean - mean);
            off * off
        };
        let begin = self.means.partition_point(|mean| *mean < looks.mean);
        let (mut nearest, mut least) = (None, i64::MAX);
        let mut look = |place: usize, mean: i32, prototype: &Prototype| {
            if off(mean) >= least {
                return false;
            }
            let square = looks.square(mean, prototype);
            if square < least {
                (nearest, least) = (Some(place), square);
            }
            true
        };
        let (below, above) = (self.means.get(..begin)?, self.means.get(begin..)?);
        let (rest_below, rest_above) =
            (self.prototypes.get(..begin)?, self.prototypes.get(begin..)?);
        for (place, (mean, prototype)) in above.iter().zip(rest_above).enumerate() {
            if !look(begin + place, *mean, prototype) {
                break;
            }
        }
        for (place, (mean, prototype)) in below.iter().zip(rest_below).enumerate().rev() {
            if !look(place, *mean, prototype) {
                break;
            }
        }
        Some((nearest?, least))
    }

    /// Moves a prototype towards a shape that it explained.
    #[inline]
    fn follow(&mut self, mut place: usize, now: u32, looks: Looks) {
        let (Some(mean), Some(prototype)) =
            (self.means.get_mut(place), self.prototypes.get_mut(place))
        else {
            return;
        };
        *mean += (looks.mean - *mean) / FOLLOW;
        prototype.low += (looks.low - prototype.low) / FOLLOW;
        prototype.high += (looks.high - prototype.high) / FOLLOW;
        prototype.used = now;
        let mean = *mean;
        while self.means.get(place + 1).is_some_and(|above| *above < mean) {
            self.swap_with_next(place);
            place += 1;
        }
        while let Some(below) = place.checked_sub(1)
            && self.means[below] > mean
        {
            self.swap_with_next(below);
            place = below;
        }
    }

    #[cold]
    fn swap_with_next(&mut self, place: usize) {
        self.means.swap(place, place + 1);
        self.prototypes.swap(place, place + 1);
    }

    #[cold]
    fn learn(&mut self, now: u32, looks: Looks) {
        let Looks { low, high, mean } = looks;
        if self.prototypes.len() == PROTOTYPES {
            let unused = |place: &usize| now.wrapping_sub(self.prototypes[*place].used);
            let gone = (0..PROTOTYPES).max_by_key(unused).unwrap_or_default();
            self.means.remove(gone);
            self.prototypes.remove(gone);
        } else if self.prototypes.len() == self.prototypes.capacity() {
            self.means.reserve_exact(PROTOTYPES_PER_GROWTH);
            self.prototypes.reserve_exact(PROTOTYPES_PER_GROWTH);
        }
        let place = self.means.partition_point(|other| *other < mean);
        self.means.insert(place, mean);
        self.prototypes.insert(
            place,
            Prototype {
                low,
                high,
                used: now,
                born: now,
            },
        );
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.values.len() == usize::from(self.window)
    }

    #[inline]
    fn push(&mut self, value: i32) {
        self.sum += i64::from(value);
        if self.is_full() {
            let Some(place) = self.values.get_mut(usize::from(self.oldest)) else {
                return;
            };
            let gone = std::mem::replace(place, value);
            self.sum -= i64::from(gone);
            self.oldest = if self.oldest + 1 < self.window {
                self.oldest + 1
            } else {
                0
            };
            // Usually the removed value is neither the smallest nor the largest.
            if gone == self.low || gone == self.high {
                self.find_ends();
                return;
            }
        } else {
            if self.values.is_empty() {
                self.values.reserve_exact(usize::from(self.window));
            }
            self.values.push(value);
        }
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    fn find_ends(&mut self) {
        let ends = |(low, high): (i32, i32), value: &i32| (low.min(*value), high.max(*value));
        (self.low, self.high) = self.values.iter().fold((i32::MAX, i32::MIN), ends);
    }

    #[inline]
    fn looks(&self) -> Looks {
        // In a window of one, the mean is the value itself.
        let mean = if self.window == 1 {
            self.low
        } else {
            (self.sum as f64 / f64::from(self.window)) as i32
        };
        Looks {
            low: self.low,
            high: self.high,
            mean,
        }
    }

    /// Converts all kept values to another lens.
    pub(crate) fn refocus(&mut self, again: impl Fn(i32) -> i32) {
        let again = |seen: &mut i32| *seen = again(*seen);
        self.values
            .iter_mut()
            .chain(&mut self.means)
            .for_each(again);
        for Prototype { low, high, .. } in &mut self.prototypes {
            again(low);
            again(high);
        }
        self.sum = self.values.iter().copied().map(i64::from).sum();
        self.find_ends();
    }
}

impl Looks {
    /// Returns the square of the distance from a prototype.
    #[inline]
    fn square(self, mean: i32, prototype: &Prototype) -> i64 {
        let part = |a: i32, b: i32| {
            let off = i64::from(a - b);
            off * off
        };
        part(self.mean, mean) + part(self.low, prototype.low) + part(self.high, prototype.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 S² for a scale of 1000.
    const UNIT: f64 = 3e6;

    fn distances(window: u8, values: impl IntoIterator<Item = i32>) -> Vec<f64> {
        let mut leader = Leader::new(window);
        (0..)
            .zip(values)
            .map(|(now, value)| leader.observe(now, value, UNIT))
            .collect()
    }

    #[test]
    fn the_distance_is_that_of_the_equation() {
        // Window 1: f = (y, y, y), so that d = |y − c| / S.
        assert_eq!(
            distances(1, [0, 1000, 0, 1400, 1380]),
            [f64::INFINITY, 1.0, 0.0, 0.4, 0.02]
        );
        // Window 2: f = (0, 100, 50), then (100, 300, 200): √(100² + 200² + 150²) / (√3·1000).
        let found = distances(2, [0, 100, 300]);
        assert_eq!(found[..2], [0.0, f64::INFINITY]);
        assert!(
            (found[2] - (72_500.0_f64 / 3e6).sqrt()).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn what_explains_a_sample_follows_it() {
        let mut leader = Leader::new(1);
        for (now, value) in [0, 50, 50].into_iter().enumerate() {
            leader.observe(now as u32, value, UNIT);
        }
        assert_eq!(leader.means, [1], "by a fiftieth, in whole steps");
    }

    #[test]
    fn the_one_that_was_not_needed_for_longest_makes_room() {
        let mut leader = Leader::new(1);
        let values = (0..48).map(|i| i * 100).chain([0, 5000, 100, 0]);
        let found: Vec<f64> = (0..)
            .zip(values)
            .map(|(now, value)| leader.observe(now, value, UNIT))
            .collect();
        assert_eq!(
            found[48..],
            [0.0, 0.3, 0.1, 0.0],
            "100 was forgotten, 0 had been needed again"
        );
        assert_eq!(leader.prototypes.len(), PROTOTYPES);
    }

    #[test]
    fn while_something_goes_on_only_what_is_old_explains_it() {
        let mut leader = Leader::new(1);
        for now in 0..300 {
            leader.observe(now, (now % 10) as i32 * 10, UNIT);
        }
        for now in 300..400 {
            let distance = leader.observe(now, 900, UNIT);
            assert!(
                now == 300 || distance < NEW_PROTOTYPE_DISTANCE,
                "it is known at once"
            );
            assert!(
                leader.distance_from_old(now, UNIT) > NEW_PROTOTYPE_DISTANCE,
                "but was not before"
            );
        }
        leader.observe(400, 900, UNIT);
        assert!(leader.distance_from_old(400, UNIT) < NEW_PROTOTYPE_DISTANCE);
    }
}
