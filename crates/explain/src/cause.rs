//! One piece of evidence of a cause.

use crate::family::Family;
use crate::output::Weight;

/// Evidence of a cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub weight: Weight,
    pub family: Option<Family>,
    pub text: String,
    /// Distance from the usual range in widths of the range; 0 for evidence without a number.
    pub widths: f64,
    /// True for a value that was out of its range for two windows.
    pub lasts: bool,
}

impl Cause {
    /// Returns hard evidence.
    pub fn hard(family: Family, text: String) -> Self {
        Self {
            weight: Weight::Hard,
            family: Some(family),
            text,
            widths: 0.0,
            lasts: false,
        }
    }
}
