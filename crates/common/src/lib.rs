//! Small utilities used by every part of the host.

pub mod blind_spot;
pub mod clock;
pub mod data_folder;
pub mod disk_probe;
pub mod error_chain;
pub mod failpoint;
pub mod http_client;
pub mod json_store;
pub mod log;
pub mod metrics;
pub mod pause_watch;
pub mod secret_file;
pub mod secret_url;
pub mod set_aside;
