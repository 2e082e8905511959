//! What several detectors are made of.

mod beyond;
mod middle;
mod sorted;
mod window;

pub use beyond::{Beyond, Series as BeyondSeries, Side};
pub use middle::middle;
pub use sorted::Sorted;
pub use window::Window;
