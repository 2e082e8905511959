//! Derives signals from raw samples, without I/O and without a clock. Takes scraped samples and
//! returns the values that follow from them. A value that can't be determined is left out, and
//! never becomes 0.

mod counter;
mod evaluate;
mod parts;
mod quantile;
mod store;

pub use evaluate::{Memory, evaluate};
pub use store::{SourceKey, Store};
