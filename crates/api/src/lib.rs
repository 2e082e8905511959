//! The HTTP API. Errors are RFC 9457 problem details, each with a remedy.

mod action;
mod approval;
mod audit_entry;
mod auth;
mod backend;
mod config;
mod connection_limits;
mod decisions;
mod extract;
mod feedback;
mod foreign_page;
mod health;
mod incidents;
mod kill_switch;
mod limits;
mod middleware;
mod plugin_changes;
mod plugins;
mod plugins_state;
mod problem;
mod router;
mod server;
mod signals;
mod silences;
mod state;
mod target;
mod test_metric;
mod upload;
mod upload_queue;
mod write_timeout;

pub use auth::Access;
pub use backend::{
    ApprovalAnswer, Backend, BackendError, PartHealth, PartStatus, ProbeBackend, TestMetric,
};
pub use config::{ApiConfig, Role, Token};
pub use kill_switch::watch as watch_kill_switch;
pub use plugin_changes::record_plugin_changes;
pub use plugins_state::{PluginDetail, ShownPlugin};
pub use problem::Problem;
pub use router::{engine_router, router};
pub use server::serve;
pub use state::{ApiState, EngineState};
