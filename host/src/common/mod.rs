//! Small things that every part of the host uses.

pub mod clock;
pub mod disk_probe;
pub mod failpoint;
pub mod http_client;
pub mod json_store;
pub mod log;
pub mod metrics;
