//! The files and figures of each plugin: its record with versions and approvals, the stored bytes,
//! the signatures, the plugin folder, the settings, and the statistics of its calls.

pub mod config;
pub mod folder;
pub mod log_gate;
pub mod record;
pub mod repository;
pub mod signature;
pub mod stats;
pub mod text;
pub mod thread_time;

pub use anomalyzer_regular_file as regular_file;
