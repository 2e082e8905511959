//! Codecs for the messages on the topics. They do no I/O, and no input makes them panic.

mod error;
mod external;
pub mod incidents;
pub mod metrics;
pub mod remote_write;
pub mod solutions;
mod timestamp;

pub use error::DecodeError;
pub use timestamp::AcceptedTime;

/// Content type of JSON.
const JSON: &str = "application/json";
