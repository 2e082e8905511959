//! Parts of the plugin host that run no WebAssembly: the record of each plugin, the stored bytes,
//! the signatures, the plugin folder, the settings, the statistics of calls, and slow calls.

pub mod config;
pub mod detach;
pub mod folder;
pub mod log_gate;
pub mod record;
pub mod repository;
pub mod signature;
pub mod stats;
pub mod text;
pub mod thread_time;

pub use anomalyzer_regular_file as regular_file;
