//! Prometheus as a source of metrics.

mod client;
mod response;

pub use client::Prometheus;
pub(super) use client::all_differ;
