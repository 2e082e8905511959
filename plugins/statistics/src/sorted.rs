//! Last samples of a series, sorted by value, for medians and quantiles.

use serde::{Deserialize, Serialize};

/// Ring of n values, and the same values sorted. A sample costs two searches and one move of
/// memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sorted {
    ring: Vec<f64>,
    sorted: Vec<f64>,
    size: usize,
    oldest: usize,
}

impl Sorted {
    /// Makes an empty ring for `size` values.
    pub fn new(size: usize) -> Self {
        Self {
            ring: Vec::new(),
            sorted: Vec::new(),
            size: size.max(1),
            oldest: 0,
        }
    }

    /// Returns true if the saved state has that size and is consistent.
    pub fn fits(&self, size: usize) -> bool {
        let mut values = self.ring.clone();
        values.sort_by(f64::total_cmp);
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
        self.size == size
            && self.ring.len() <= size
            && (self.oldest < size && (self.oldest == 0 || self.ring.len() == size))
            && values.len() == self.sorted.len()
            && values.iter().zip(&self.sorted).all(same)
    }

    /// Returns the number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns true if there is no value.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Returns true if the ring is full.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.ring.len() == self.size
    }

    /// Adds a value. Returns the oldest value if the new value replaces it.
    pub fn push(&mut self, value: f64) -> Option<f64> {
        let place = |sorted: &[f64], value: &f64| {
            sorted.partition_point(|other| other.total_cmp(value).is_lt())
        };
        if !self.is_full() {
            self.ring.push(value);
            self.sorted.insert(place(&self.sorted, &value), value);
            return None;
        }
        let gone = std::mem::replace(self.ring.get_mut(self.oldest)?, value);
        self.oldest = (self.oldest + 1) % self.size;
        let from = place(&self.sorted, &gone).min(self.sorted.len() - 1);
        let to = place(&self.sorted, &value);
        // Only the values between the two places move.
        if to > from {
            self.sorted.copy_within(from + 1..to, from);
            self.sorted[to - 1] = value;
        } else {
            self.sorted.copy_within(to..from, to + 1);
            self.sorted[to] = value;
        }
        Some(gone)
    }

    /// Returns the value at that share of the order, interpolated: 0.5 is the median. Returns NaN
    /// if there is no value.
    pub fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else {
            return f64::NAN;
        };
        let at = share.clamp(0.0, 1.0) * last as f64;
        let (low, high) = (
            self.sorted[at.floor() as usize],
            self.sorted[at.ceil() as usize],
        );
        if low == high {
            low
        } else {
            low + (high - low) * at.fract()
        }
    }

    /// Returns the median. Returns NaN if there is no value.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the median distance from the median (MAD). 1.4826 times the MAD is the standard
    /// deviation of Gaussian noise.
    pub fn median_deviation(&self) -> f64 {
        let median = self.median();
        let count = self.sorted.len();
        if count == 0 {
            return f64::NAN;
        }
        // The distances fall up to the median and rise from there. The loop merges them from the
        // middle outwards, and the first half is enough.
        let mut right = self.sorted.partition_point(|value| *value < median);
        let mut left = right;
        let mut middle = (0.0, 0.0);
        for _ in 0..=count / 2 {
            let below = left
                .checked_sub(1)
                .map_or(f64::INFINITY, |left| median - self.sorted[left]);
            let above = self
                .sorted
                .get(right)
                .map_or(f64::INFINITY, |value| value - median);
            let next = if below <= above {
                left -= usize::from(left > 0);
                below
            } else {
                right += 1;
                above
            };
            middle = (middle.1, next);
        }
        if count % 2 == 1 {
            middle.1
        } else {
            f64::midpoint(middle.0, middle.1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::middle;

    #[test]
    fn quantiles_are_interpolated() {
        let mut sorted = Sorted::new(5);
        assert!(sorted.median().is_nan() && sorted.median_deviation().is_nan());
        assert!(
            [4.0, 1.0, 2.0, 3.0]
                .map(|value| sorted.push(value))
                .iter()
                .all(Option::is_none)
        );
        assert_eq!(
            [0.0, 0.5, 0.9, 1.0].map(|share| sorted.quantile(share)),
            [1.0, 2.5, 3.7, 4.0]
        );
        assert_eq!((sorted.push(9.0), sorted.push(9.0)), (None, Some(4.0)));
    }

    proptest! {
        #[test]
        fn median_and_deviation_are_those_of_the_last_values(
            values in prop::collection::vec(prop_oneof![-100.0..100.0, Just(5.0), Just(-0.0), any::<i8>().prop_map(f64::from)], 1..200),
            size in 1usize..40,
        ) {
            let mut sorted = Sorted::new(size);
            for (i, value) in values.iter().enumerate() {
                sorted.push(*value);
                let mut last = values[(i + 1).saturating_sub(size)..=i].to_vec();
                let median = middle(&mut last);
                prop_assert!((sorted.median() - median).abs() < 1e-12);
                last.iter_mut().for_each(|value| *value = (*value - median).abs());
                let deviation = middle(&mut last);
                prop_assert!((sorted.median_deviation() - deviation).abs() < 1e-12, "{} {deviation}", sorted.median_deviation());
                prop_assert!(sorted.fits(size));
            }
        }
    }
}
