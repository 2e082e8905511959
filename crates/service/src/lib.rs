//! Configuration and wiring: every part put together, in one process or in two roles joined by Kafka.

mod backfill;
pub mod config;
mod doors;
mod engine;
mod groups;
mod health;
mod incidents;
mod plugin_metrics;
mod plugins;
mod recent;
mod sink;
mod startup;
mod supervise;

pub use health::{Health, Part, Status};
pub use startup::{Role, Running, start};
