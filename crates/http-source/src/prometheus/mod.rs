//! Client of Prometheus, and of servers that speak its HTTP API.

mod client;
mod config;
mod response;

pub use client::{InstantAnswer, Prometheus};
pub use config::PrometheusConfig;
pub use response::Found;
