//! How what travels on the topics is written and read. No I/O, and no input makes it panic.

mod error;
mod foreign;
pub mod incidents;
pub mod metrics;
pub mod remote_write;
pub mod solutions;
mod when;

pub use error::DecodeError;
pub use when::Believed;

/// The content type of JSON.
const JSON: &str = "application/json";
