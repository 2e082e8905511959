//! Codecs for the messages on the topics. They do no I/O, and no input makes them panic.

mod error;
mod foreign;
pub mod incidents;
pub mod metrics;
pub mod remote_write;
pub mod solutions;
mod when;

pub use error::DecodeError;
pub use when::Believed;

/// Content type of JSON.
const JSON: &str = "application/json";
