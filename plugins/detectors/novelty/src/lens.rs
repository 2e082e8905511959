//! Through what a series is seen in whole numbers: from where it is, in steps of a small share of
//! its scale.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// y is seen as (y − anchor) / step. Distances are then those of whole numbers: exact, half as
/// large to keep, and quick in a sandbox that looks after every floating-point operation whether it
/// made a NaN. What counts, differences of a hundredth of the scale, is told apart wherever the
/// series is: at 2⁵³, at 10¹⁵⁰ and at 10⁻¹⁵⁰.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Lens {
    anchor: f64,
    /// A power of two: then nothing is rounded by it.
    steps_in_one: f64,
}

/// Further away is seen as this. Three squares of its double fit in 64 bits, and a scale that has
/// room for it is nowhere near it.
const FURTHEST: i32 = 1 << 29;
/// An anchor may be so many scales away.
const NEAR: f64 = 256.0;
/// A scale is so many steps, or up to twice as many, when the lens is made for it.
const STEPS: f64 = 32_768.0;
/// Of scales: their squares are finite and not 0.
const SCALES: Range<f64> = 1e-150..1e152;

impl Lens {
    /// Squares of a scale, in steps, that need no other lens.
    pub(crate) const SHARP: Range<f64> = STEPS * STEPS / 64.0..STEPS * STEPS * 64.0;

    pub(crate) fn new() -> Self {
        Self {
            anchor: 0.0,
            steps_in_one: 1.0,
        }
    }

    /// For a series about there with that scale.
    pub(crate) fn at(anchor: f64, scale: f64) -> Self {
        if !SCALES.contains(&scale) {
            return Self {
                anchor,
                steps_in_one: 1.0,
            };
        }
        // The power of two below it: its exponent without its digits.
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

    /// A square, in squares of steps.
    #[inline]
    pub(crate) fn in_steps(&self, square: f64) -> f64 {
        square * self.steps_in_one * self.steps_in_one
    }

    /// Whether a series about there, with the square of its scale, is near enough.
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
