//! Statistics that several detectors share.

mod beyond;
mod middle;
mod one_sided;
mod sorted;
mod window;

pub use beyond::{Beyond, Series as BeyondSeries, Side};
pub use middle::middle;
pub use one_sided::{OneSide, OneSided, OneSidedSettings};
pub use sorted::Sorted;
pub use window::Window;
