//! Attack: never finishes opening.

use crate::{Attack, spin};

pub fn begin() -> Box<dyn Attack> {
    spin()
}
