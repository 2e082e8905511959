//! One of the figures that are looked at, with its scale and the lens that the scale asks for.

use serde::{Deserialize, Serialize};

use crate::lens::Lens;
use crate::scale::Scale;

/// What leaders that look at the same figure share.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stream {
    scale: Scale,
    lens: Lens,
}

/// A value through the lens, and 3 S² in its steps. Nothing while the figure is constant.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) value: i32,
    pub(crate) unit: Option<f64>,
    /// The lens of before, if it was changed: what was kept must be seen anew.
    pub(crate) changed: Option<Lens>,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self { scale: Scale::new(), lens: Lens::new() }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.lens.is_sound()
    }

    pub(crate) fn lens(&self) -> Lens {
        self.lens
    }

    /// `floor` is the least difference that is more than rounding.
    #[inline]
    pub(crate) fn observe(&mut self, value: f64, rate: f64, floor: f64) -> Seen {
        let square = self.scale.observe(value, rate);
        let is_sharp =
            Lens::SHARP.contains(&self.lens.in_steps(square)) && self.lens.is_near(self.scale.mean(), square);
        let changed = if is_sharp { None } else { self.refocus(value, square) };
        let unit = if square > floor * floor { Some(3.0 * self.lens.in_steps(square)) } else { None };
        Seen { value: self.lens.see(value), unit, changed }
    }

    /// 3 S² as it is now.
    pub(crate) fn unit(&self, floor: f64) -> Option<f64> {
        let square = self.scale.square();
        (square > floor * floor).then(|| 3.0 * self.lens.in_steps(square))
    }

    /// The series is elsewhere, or on another scale, than the lens was made for.
    #[cold]
    fn refocus(&mut self, value: f64, square: f64) -> Option<Lens> {
        // Of a constant there is nothing to be told apart: it is where it is.
        let anchor = if square > 0.0 { self.scale.mean() } else { value };
        Some(std::mem::replace(&mut self.lens, Lens::at(anchor, square.sqrt())))
    }
}
