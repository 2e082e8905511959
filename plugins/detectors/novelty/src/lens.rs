//! Through what a series is seen in single precision: from where it is, in units of its scale.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// y is seen as (y − anchor) / unit. So a prototype takes half the room, and what counts, differences of a hundredth of the scale,
/// is told apart wherever the series is: at 2⁵³, at 10¹⁵⁰ and at 10⁻¹⁵⁰.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Lens {
    anchor: f64,
    /// A power of two: then nothing is rounded by it.
    unit: f64,
}

/// Further away is seen as this: its square is finite in single precision.
const FURTHEST: f64 = 1e12;
/// An anchor so many scales away leaves 2⁻¹⁰ of the scale to be told apart.
const NEAR: f64 = 16_384.0;
/// Of units. Their squares, and those of what is seen through them, are finite and not 0.
const UNITS: Range<f64> = 1e-150..1e152;

impl Lens {
    /// Squares of a scale, as it is seen, that need no other lens.
    pub(crate) const SHARP: Range<f64> = 1e-9..1e9;

    pub(crate) fn new() -> Self {
        Self { anchor: 0.0, unit: 1.0 }
    }

    /// For a series about there with that scale.
    pub(crate) fn at(anchor: f64, scale: f64) -> Self {
        let unit = if UNITS.contains(&scale) { f64::from_bits(scale.to_bits() & f64::INFINITY.to_bits()) } else { 1.0 };
        Self { anchor, unit }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.anchor.is_finite() && UNITS.contains(&self.unit)
    }

    #[inline]
    pub(crate) fn see(&self, value: f64) -> f32 {
        let seen = (value - self.anchor) / self.unit;
        seen.clamp(-FURTHEST, FURTHEST) as f32
    }

    pub(crate) fn back(&self, seen: f32) -> f64 {
        f64::from(seen) * self.unit + self.anchor
    }

    /// A square, in the square of the unit.
    #[inline]
    pub(crate) fn square_of(&self, square: f64) -> f64 {
        square / (self.unit * self.unit)
    }

    /// Whether a series about there, with the square of its scale, is near enough.
    #[inline]
    pub(crate) fn is_near(&self, mean: f64, square: f64) -> bool {
        let away = mean - self.anchor;
        away * away <= NEAR * NEAR * square
    }
}
