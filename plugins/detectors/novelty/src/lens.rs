//! Lens of a series: maps its values to whole numbers, in steps from an anchor. A step is a small
//! share of the series' scale.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Mapping of y to (y − anchor) / step. Distances are then distances of whole numbers. They are
/// exact and take half the memory. They are also quick in a sandbox that checks every
/// floating-point operation for a NaN. Differences of a hundredth of the scale are told apart
/// wherever the series is: at 2⁵³, at 10¹⁵⁰ and at 10⁻¹⁵⁰.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Lens {
    anchor: f64,
    /// Number of steps in 1. It is a power of two, so that it rounds nothing.
    steps_in_one: f64,
}

/// Largest mapped distance from the anchor. Larger distances are clamped to it. Three squares of
/// its double fit in 64 bits. A scale for which the lens is sharp is far below it.
const FURTHEST: i32 = 1 << 29;
/// Maximum distance of the anchor from the mean, in scales.
const NEAR: f64 = 256.0;
/// Number of steps in a scale for which the lens is made. It can be up to twice as many.
const STEPS: f64 = 32_768.0;
/// Range of scales whose squares are finite and not 0.
const SCALES: Range<f64> = 1e-150..1e152;

impl Lens {
    /// Range of squares of a scale, in steps, that need no other lens.
    pub(crate) const SHARP: Range<f64> = STEPS * STEPS / 64.0..STEPS * STEPS * 64.0;

    pub(crate) fn new() -> Self {
        Self {
            anchor: 0.0,
            steps_in_one: 1.0,
        }
    }

    /// Makes a lens for a series about `anchor` with that scale.
    pub(crate) fn at(anchor: f64, scale: f64) -> Self {
        if !SCALES.contains(&scale) {
            return Self {
                anchor,
                steps_in_one: 1.0,
            };
        }
        // The largest power of two that is not above the scale: its exponent without its digits.
        let power = f64::from_bits(scale.to_bits() & f64::INFINITY.to_bits());
        Self {
            anchor,
            steps_in_one: STEPS / power,
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.anchor.is_finite() && self.steps_in_one.is_finite() && self.steps_in_one > 0.0
    }

    #[inline]
    pub(crate) fn see(&self, value: f64) -> i32 {
        (((value - self.anchor) * self.steps_in_one) as i32).clamp(-FURTHEST, FURTHEST)
    }

    pub(crate) fn back(&self, seen: i32) -> f64 {
        f64::from(seen) / self.steps_in_one + self.anchor
    }

    /// Converts a square to squares of steps.
    #[inline]
    pub(crate) fn in_steps(&self, square: f64) -> f64 {
        square * self.steps_in_one * self.steps_in_one
    }

    /// Returns true if the anchor is near enough to the mean of a series. `square` is the square of
    /// its scale.
    #[inline]
    pub(crate) fn is_near(&self, mean: f64, square: f64) -> bool {
        let away = mean - self.anchor;
        away * away <= NEAR * NEAR * square
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_many_steps_wherever_it_is() {
        for (anchor, scale) in [(0.0, 1.0), (9e15, 300.0), (-1e140, 3e139), (0.0, 2e-140)] {
            let lens = Lens::at(anchor, scale);
            let steps = lens.see(anchor + scale) - lens.see(anchor);
            assert!(
                (32_768..65_536).contains(&steps),
                "{anchor} {scale}: {steps}"
            );
            assert!(Lens::SHARP.contains(&lens.in_steps(scale * scale)));
            assert_eq!(lens.see(anchor + scale * 1e9), FURTHEST);
        }
        let lens = Lens::at(-7.0, 3.0);
        assert_eq!(lens.see(lens.back(1234)), 1234);
    }
}
