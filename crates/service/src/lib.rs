//! The service: both halves in one process, or each half by itself, joined by the bus.
//!
//! [`Service::builder`] starts it; `startup.rs` shows the order of the steps, and `background.rs`
//! lists the tasks.

pub mod config;

mod backend;
mod backfill;
mod background;
mod blind_spots;
mod collector;
mod engine;
mod engine_watch;
mod executor;
mod full_disk;
mod health;
mod health_check;
mod incidents;
mod metrics;
mod off_record_bus;
mod plugin_metrics;
mod plugins;
mod process_targets;
mod recent;
mod record_watch;
mod role;
mod running;
mod sink;
mod startup;
mod storage;
mod supervise;
mod tasks;

pub use health::{Health, Part, Status};
pub use role::Role;
pub use running::Service;
pub use startup::ServiceBuilder;
