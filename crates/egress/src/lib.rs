//! Outgoing HTTP requests and notices, restricted to allowed addresses.

pub mod http;
pub mod notify;
