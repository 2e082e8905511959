//! Signals derived from raw samples. No I/O and no clock: what was scraped comes in, what can be
//! said of it comes out. What can't be said is left out and never 0.

mod counter;
mod evaluate;
mod quantile;
mod store;

pub use evaluate::{Memory, evaluate};
pub use store::{SourceKey, Store};
