//! Scale of a series: a measure of its variation.

use serde::{Deserialize, Serialize};

/// Maximum of the scale in standard deviations, squared.
const DEVIATIONS_SQUARE: f64 = 16.0 * 16.0;

/// Scale S = min(largest − least of all values until now, 16 σ), with σ from exponentially weighted
/// moments. One outlier would fix the range alone for good.
#[derive(Serialize, Deserialize)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    mean: f64,
    variance: f64,
}

impl Scale {
    pub(crate) fn new() -> Self {
        Self {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            mean: 0.0,
            variance: 0.0,
        }
    }

    /// Adds a value and returns the square of S. The first rate must be 1.
    #[inline]
    pub(crate) fn observe(&mut self, value: f64, rate: f64) -> f64 {
        // The comparison is written out, because `f64::min` is a call in WebAssembly.
        self.low = if value < self.low { value } else { self.low };
        self.high = if value > self.high { value } else { self.high };
        let off = value - self.mean;
        let step = rate * off;
        self.mean += step;
        self.variance = (1.0 - rate) * (self.variance + step * off);
        self.square()
    }

    #[inline]
    pub(crate) fn square(&self) -> f64 {
        let range = self.high - self.low;
        let (range, deviations) = (range * range, DEVIATIONS_SQUARE * self.variance);
        if range < deviations {
            range
        } else {
            deviations
        }
    }

    #[inline]
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_range_until_that_is_more_than_sixteen_deviations() {
        let mut scale = Scale::new();
        assert_eq!(scale.observe(7.0, 1.0), 0.0);
        assert_eq!(scale.observe(9.0, 0.5), 4.0);
        scale.observe(1e9, 0.01);
        for i in 0..20_000 {
            scale.observe(f64::from(i % 2), 0.001);
        }
        assert!(
            scale.square() < 1e12,
            "one outlier is forgotten: {}",
            scale.square()
        );
    }
}
