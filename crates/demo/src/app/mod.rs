//! `anomalyzer demo-app`: an HTTP service with faults that can be switched on.
//!
//! A bounded pool of workers serves a bounded queue, so that latency and errors result from
//! queueing and not from a formula. A fault affects only its own process: a restart repairs it, and
//! more replicas serve more requests.

mod args;
mod faults;
mod leak;
mod limit;
mod memory;
mod metrics;
mod pool;
mod routes;
mod server;
mod state;

pub use args::DemoAppArgs;
pub use server::{run, serve};
