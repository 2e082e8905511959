//! Number of deviations by which a value exceeds its mean.

use serde::{Deserialize, Serialize};

const RATE: f64 = 0.01;
/// Largest rate at which the deviation counts as known: after 20 samples.
const LEAST: f64 = 1.0 / 20.0;

/// Exponentially weighted mean and variance (rate 0.01). Over the first hundred samples they are
/// plain ones.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Deviation {
    mean: f64,
    variance: f64,
    /// 1 / number of samples seen, but at least `RATE`. 2 before the first sample.
    rate: f64,
}

impl Deviation {
    pub(crate) fn new() -> Self {
        Self {
            mean: 0.0,
            variance: 0.0,
            rate: 2.0,
        }
    }

    /// Returns true if the saved state can be a deviation.
    pub(crate) fn is_sound(&self) -> bool {
        self.mean.is_finite() && self.variance >= 0.0 && self.rate > 0.0 && self.rate <= 2.0
    }

    /// Returns z = (value − mean) / σ, or 0 if that is negative, then learns the value. The mean
    /// and σ do not include the value.
    #[inline]
    pub(crate) fn above(&mut self, value: f64) -> f64 {
        let off = value - self.mean;
        let z = if off > 0.0 && self.variance > 0.0 && self.rate <= LEAST {
            off / self.variance.sqrt()
        } else {
            0.0
        };
        self.rate = if self.rate > 1.0 {
            1.0
        } else {
            self.rate / (1.0 + self.rate)
        };
        self.rate = if self.rate > RATE { self.rate } else { RATE };
        let step = self.rate * off;
        self.mean += step;
        self.variance = (1.0 - self.rate) * (self.variance + step * off);
        z
    }

    /// Returns a bound that values hardly ever exceed: the mean and three deviations.
    pub(crate) fn usual(&self) -> f64 {
        self.mean + 3.0 * self.variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_plain_z_score_at_first() {
        let mut deviation = Deviation::new();
        for i in 0..40 {
            assert!(deviation.above(f64::from(i % 2)) <= 1.1);
        }
        assert!((deviation.above(2.5) - 4.0).abs() < 1e-9, "mean 0.5, σ 0.5");
    }

    #[test]
    fn of_a_constant_nothing_is_known() {
        let mut deviation = Deviation::new();
        (0..40).for_each(|_| assert_eq!(deviation.above(3.0), 0.0));
        assert_eq!(deviation.above(4.0), 0.0);
    }
}
