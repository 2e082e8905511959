//! Stream of one figure, with its scale and the lens that the scale needs.

use serde::{Deserialize, Serialize};

use crate::lens::Lens;
use crate::scale::Scale;

/// State that all leaders over one figure share.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stream {
    scale: Scale,
    lens: Lens,
    seen: i32,
    unit: f64,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            scale: Scale::new(),
            lens: Lens::new(),
            seen: 0,
            unit: 0.0,
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.lens.is_sound()
    }

    pub(crate) fn lens(&self) -> Lens {
        self.lens
    }

    /// Adds a value. `floor` is the smallest difference that is more than rounding. Returns the
    /// previous lens if the lens had to change. Kept values must then be converted.
    #[inline]
    pub(crate) fn observe(&mut self, value: f64, rate: f64, floor: f64) -> Option<Lens> {
        let square = self.scale.observe(value, rate);
        let in_steps = self.lens.in_steps(square);
        let is_sharp =
            Lens::SHARP.contains(&in_steps) && self.lens.is_near(self.scale.mean(), square);
        let changed = if is_sharp {
            None
        } else {
            Some(self.refocus(value, square))
        };
        self.seen = self.lens.see(value);
        self.unit = if square > floor * floor {
            3.0 * self.lens.in_steps(square)
        } else {
            0.0
        };
        changed
    }

    /// Returns the last value through the lens.
    #[inline]
    pub(crate) fn seen(&self) -> i32 {
        self.seen
    }

    /// Returns 3 S² in steps of the lens, or 0 while the figure is constant.
    #[inline]
    pub(crate) fn unit(&self) -> f64 {
        self.unit
    }

    /// Makes a lens for a series that has moved, or whose scale has changed. Returns the previous
    /// lens.
    #[cold]
    fn refocus(&mut self, value: f64, square: f64) -> Lens {
        // A constant has no differences to resolve. Its value is the anchor.
        let anchor = if square > 0.0 {
            self.scale.mean()
        } else {
            value
        };
        std::mem::replace(&mut self.lens, Lens::at(anchor, square.sqrt()))
    }
}
