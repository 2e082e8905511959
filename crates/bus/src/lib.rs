//! The topics that connect the parts of the service, in this process or on Kafka, with one
//! contract for both.
//!
//! **Invariant:** delivery is at least once and in order per key. The bus delivers a message until
//! its offset is committed. A consumer commits an offset after the effect is durable, never before.

mod consume;
mod contract;
mod dead_letter;
mod error;
#[cfg(any(test, feature = "test-support"))]
pub mod fake;
mod layer;
pub mod retry;

pub use consume::{Batch, Ended, Handler, OnReadError, consume};
pub use contract::{Bus, BusHealth, LogOfRecord, PartitionLag, Replay, Subscription};
pub use dead_letter::{dead_letter_name, dead_letter_of};
pub use error::BusError;
pub use layer::BusLayer;
